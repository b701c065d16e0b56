#!/usr/bin/env bash
# build.sh ROOT ARCH: fills the folder ROOT with what the Dockerfile copies. Called by scripts/image.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
install -m 755 "${CARGO_TARGET_DIR:-target}/dist/chainpool" "$1/chainpool"
