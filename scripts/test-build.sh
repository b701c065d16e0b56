#!/usr/bin/env bash
# test-build.sh: compiles all tests, those on test beds included, and runs clippy over everything in the same compilation. A warning is an error.
#
# clippy-driver is rustc with more lints, so one compilation gives both the programs and the lints. Cargo keeps what it compiled apart from
# what plain rustc compiles; scripts that run these tests source this file for its variables: `. scripts/test-build.sh env`.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver
export CLIPPY_ARGS='-Dwarnings__CLIPPY_HACKERY__'
if [ "${1:-}" != env ]; then
  set -euo pipefail
  cd "$(dirname "$0")/.."
  . scripts/toolchain.sh
  # Targets with `test = false` are named: they run on test beds, by scripts/test-full.sh and scripts/test-platforms.sh.
  cargo test --workspace --all-features --locked --no-run --tests \
    --test swarm --test kit_swarm --test kubernetes --test kit_kubernetes --test platforms --test processes
fi
