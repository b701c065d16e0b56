#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image in the directory ROOT. Called by
# scripts/image.sh.
#
# All paths are those of the official image. Its sample MSP is omitted, because its key is public.
set -euo pipefail
cd "$(dirname "$0")/../.."
. baseimage/fabric/module.sh
root=$1
export GOOS=linux GOARCH=$2
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/var/hyperledger/production"
fabric_build "$root/usr/local/bin/" github.com/hyperledger/fabric/cmd/orderer
fabric_config orderer.yaml "$root/etc/hyperledger/fabric"
