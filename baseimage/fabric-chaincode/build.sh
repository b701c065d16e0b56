#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image, one static program, in the directory ROOT.
# Called by scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. baseimage/fabric/module.sh
root=$1
export GOOS=linux GOARCH=$2
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"
fabric_build "$root/usr/local/bin/" ./chaincode
