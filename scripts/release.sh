#!/usr/bin/env bash
# release.sh [release|dist]: builds the binary, by default with the profile that is built quickly; `dist` is the small one. Nothing is done where it is
# up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
cargo build --profile "${1:-release}" --locked --package chainpool
