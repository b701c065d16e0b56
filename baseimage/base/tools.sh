#!/usr/bin/env bash
# tools.sh ARCH: builds chainpool-init, chainpool-probe and chainpool-place as static programs into
# <target>/image-tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh run
. scripts/toolchain.sh
arch=$1
case $arch in
  amd64) triple=x86_64-unknown-linux-gnu ;;
  arm64) triple=aarch64-unknown-linux-gnu ;;
  *) echo "cannot build images for $arch: use an engine on amd64 or arm64" >&2; exit 2 ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
if [ "$host" != "$triple" ]; then
  echo "the engine runs on $triple, this machine is $host: build the images on the engine's machine" >&2
  exit 2
fi
target=${CARGO_TARGET_DIR:-target}
# An explicit target keeps the flag from build scripts and macros, which cannot be static.
RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile dist --locked --package chainpool-tools --target "$triple"
mkdir -p "$target/image-tools"
install -m 755 "$target/$triple"/dist/chainpool-{init,probe,place} "$target/image-tools/"
