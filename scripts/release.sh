#!/usr/bin/env bash
# release.sh: the release build of the binary. Nothing is done where it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
cargo build --release --locked --package chainpool
