#!/usr/bin/env bash
# lint.sh: format, clippy and documentation without a warning.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
