#!/usr/bin/env bash
# lint.sh: checks format, dependencies (deny.toml), clippy and documentation; warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
. scripts/toolchain.sh
command -v cargo-deny >/dev/null || {
  echo "lint.sh: cargo-deny is missing; install it with: cargo install --locked cargo-deny" >&2
  exit 1
}
cargo fmt --all --check
cargo deny --locked check licenses bans sources
# The database of advisories is a git repository on GitHub.
if fetched=$(timeout 120 cargo deny fetch db 2>&1); then
  cargo deny --locked check advisories
else
  echo "advisories: not checked: ${fetched##*$'\n'}"
fi
scripts/clippy.sh
# The example is not in the workspace.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
cargo fmt --manifest-path agents/example/Cargo.toml --check
cargo clippy --manifest-path agents/example/Cargo.toml --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
