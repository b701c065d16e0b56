#!/usr/bin/env bash
# lint.sh: checks format, dependencies (deny.toml), clippy and documentation; warnings are errors. Installs
# cargo-deny if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh lint
. scripts/toolchain.sh
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
