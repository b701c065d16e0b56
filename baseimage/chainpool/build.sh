#!/usr/bin/env bash
# build.sh ROOT ARCH: puts the files that the Dockerfile copies into the directory ROOT. Called by
# scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
install -m 755 "${CARGO_TARGET_DIR:-target}/dist/chainpool" "$1/chainpool"
