#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image in the directory ROOT. Called by
# scripts/image.sh.
#
# All paths are those of the official image, including the client. The database is SQLite, which is C: the
# programs are linked statically, so that the image needs no libraries. The linker's warning about dlopen
# concerns plugins, which Go links in and the server does not load.
set -euo pipefail
cd "$(dirname "$0")"
root=$1 arch=$2
../../scripts/setup.sh go
cd ../.. && . scripts/toolchain.sh && cd - >/dev/null
module=github.com/hyperledger/fabric-ca
version=$(sed -n "s|^require $module v||p" go.mod)
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/etc/hyperledger/fabric-ca-server"
# Clear GOFLAGS: flags from the environment, such as -mod, would change the build.
GOFLAGS='' GOWORK=off CGO_ENABLED=1 GOOS=linux GOARCH=$arch go build -mod=readonly -buildvcs=false -trimpath \
  -tags 'netgo osusergo sqlite_omit_load_extension' \
  -ldflags "-s -w -linkmode external -extldflags -static -X $module/lib/metadata.Version=$version" \
  -o "$root/usr/local/bin/" "$module/cmd/fabric-ca-server" "$module/cmd/fabric-ca-client"
