#!/usr/bin/env bash
# build.sh ROOT ARCH: fills the folder ROOT with the file system of the image: one static program. Called by scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. baseimage/fabric/module.sh
root=$1
export GOOS=linux GOARCH=$2
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"
fabric_build "$root/usr/local/bin/" ./chaincode
