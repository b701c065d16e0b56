#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image in the directory ROOT. Called by
# scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")"
root=$1 arch=$2
../../scripts/setup.sh go
cd ../.. && . scripts/toolchain.sh && cd - >/dev/null
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/cometbft"
# Clear GOFLAGS: flags from the environment, such as -mod, would change the build.
GOFLAGS='' GOWORK=off CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -mod=readonly -buildvcs=false -trimpath -ldflags '-s -w' \
  -o "$root/usr/bin/cometbft" github.com/cometbft/cometbft/cmd/cometbft
