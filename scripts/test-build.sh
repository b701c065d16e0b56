#!/usr/bin/env bash
# test-build.sh: compiles all tests, including those on test beds, with clippy in the same compilation.
# Warnings are errors.
#
# clippy-driver is rustc with more lints, so one compilation produces both programs and lints. Cargo keeps its
# output separate from that of rustc; scripts that run these tests source the variables: `.
# scripts/test-build.sh env`.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver
export CLIPPY_ARGS='-Dwarnings__CLIPPY_HACKERY__'
if [ "${1:-}" != env ]; then
  set -euo pipefail
  cd "$(dirname "$0")/.."
  . scripts/toolchain.sh
  # Name targets with `test = false`: scripts/test-full.sh and scripts/test-platforms.sh run them.
  cargo test --workspace --all-features --locked --no-run --tests \
    --test swarm --test kit_swarm --test kubernetes --test kit_kubernetes --test platforms --test processes
fi
