#!/usr/bin/env bash
# lint.sh: checks format, clippy and documentation; warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
cargo fmt --all --check
scripts/clippy.sh
# The example is not in the workspace.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
cargo fmt --manifest-path agents/example/Cargo.toml --check
cargo clippy --manifest-path agents/example/Cargo.toml --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
