#!/usr/bin/env bash
# release.sh [release|dist]: builds the binary if it is out of date. `release`, the default, builds quickly;
# `dist` is small.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
cargo build --profile "${1:-release}" --locked --package chainpool
