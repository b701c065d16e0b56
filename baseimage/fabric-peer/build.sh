#!/usr/bin/env bash
# build.sh ROOT ARCH: fills the folder ROOT with the file system of the image. Called by scripts/image.sh.
#
# Everything lies where the official image has it. Its sample MSP is left out: that key is known to everybody.
set -euo pipefail
cd "$(dirname "$0")/../.."
. baseimage/fabric/module.sh
root=$1
export GOOS=linux GOARCH=$2
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/var/hyperledger/production"
fabric_build "$root/usr/local/bin/" github.com/hyperledger/fabric/cmd/peer
fabric_config core.yaml "$root/etc/hyperledger/fabric"
fabric_ccaas "$root/opt/hyperledger/ccaas_builder"
