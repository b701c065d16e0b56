#!/usr/bin/env bash
# clippy.sh: clippy without a warning. The tests on test beds (test = false) are no part of all targets.
set -euo pipefail
cd "$(dirname "$0")/.."
strict=(--workspace --all-features --locked)
cargo clippy "${strict[@]}" --all-targets -- -D warnings
cargo clippy "${strict[@]}" --test swarm --test kit_swarm --test kubernetes --test kit_kubernetes --test platforms -- -D warnings
