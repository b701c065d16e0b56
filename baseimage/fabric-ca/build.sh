#!/usr/bin/env bash
# build.sh ROOT ARCH: fills the folder ROOT with the file system of the image. Called by scripts/image.sh.
#
# Everything lies where the official image has it, its client too. Its database is SQLite, which is C: the programs are linked statically,
# so that the image needs no libraries. The linker's word on dlopen is about plugins, which Go links in and the server does not load.
set -euo pipefail
cd "$(dirname "$0")"
root=$1 arch=$2
../../scripts/setup.sh go
cd ../.. && . scripts/toolchain.sh && cd - >/dev/null
module=github.com/hyperledger/fabric-ca
version=$(sed -n "s|^require $module v||p" go.mod)
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/etc/hyperledger/fabric-ca-server"
# GOFLAGS is emptied: -mod and the like from the outside would change what is built.
GOFLAGS='' GOWORK=off CGO_ENABLED=1 GOOS=linux GOARCH=$arch go build -mod=readonly -buildvcs=false -trimpath \
  -tags 'netgo osusergo sqlite_omit_load_extension' \
  -ldflags "-s -w -linkmode external -extldflags -static -X $module/lib/metadata.Version=$version" \
  -o "$root/usr/local/bin/" "$module/cmd/fabric-ca-server" "$module/cmd/fabric-ca-client"
