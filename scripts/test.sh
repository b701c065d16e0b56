#!/usr/bin/env bash
# test.sh: sets up what the tests need, then runs all of them, and says how many minutes each part took.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

times=()
report() {
  local line
  echo "minutes a part:"
  for line in "${times[@]}"; do echo "  $line"; done
}
# The tests share one swarm, which no single one of them may take away.
finish() { report; tests/testbeds/swarm.sh down; }
trap finish EXIT

# part NAME COMMAND…
part() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" || status=$?
  times+=("$(awk -v s=$((SECONDS - start)) -v n="$name" 'BEGIN { printf "%5.1f  %s", s / 60, n }')")
  [ "$status" = 0 ] || { times+=("       failed: $name"); exit "$status"; }
}

part "setup" scripts/setup.sh test
. scripts/toolchain.sh
part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
part "node image" scripts/node-image.sh cometbft
part "tools image" scripts/image.sh tools
part "format" cargo fmt --all --check
part "lint" cargo clippy --workspace --all-targets --locked -- -D warnings
part "build" cargo test --workspace --locked --no-run
# Tests of one binary share one engine, which starts no more containers a second beyond two starts a core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
# What the conformance kit finds on each platform goes into the page's table.
CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md
export CHAINPOOL_KIT_TABLE
part "tests" cargo test --workspace --locked --no-fail-fast
unset CHAINPOOL_KIT_TABLE
# An agent as somebody else would write it: outside the workspace, on the public contract alone.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
part "example agent" cargo test --manifest-path agents/example/Cargo.toml --locked
