#!/usr/bin/env bash
# build.sh ROOT ARCH: fills the folder ROOT with the file system of the image: our static programs and nothing else. Called by scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
install -D -m 755 -t "$1/usr/bin" "${CARGO_TARGET_DIR:-target}"/image-tools/chainpool-{init,probe,place}
