#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image, only our static programs, in the directory
# ROOT. Called by scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
install -D -m 755 -t "$1/usr/bin" "${CARGO_TARGET_DIR:-target}"/image-tools/chainpool-{init,probe,place}
