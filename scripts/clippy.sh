#!/usr/bin/env bash
# clippy.sh: runs clippy; warnings are errors. --all-targets does not include tests on test beds (test =
# false).
set -euo pipefail
cd "$(dirname "$0")/.."
strict=(--workspace --all-features --locked)
cargo clippy "${strict[@]}" --all-targets -- -D warnings
cargo clippy "${strict[@]}" --test swarm --test kit_swarm --test kubernetes --test kit_kubernetes --test platforms -- -D warnings
