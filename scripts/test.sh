#!/usr/bin/env bash
# test.sh: sets up what the tests need, then runs all of them but those on test beds (test-platforms.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/part.sh
trap report EXIT

part "setup" scripts/setup.sh test
. scripts/toolchain.sh
part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
part "node image" scripts/node-image.sh cometbft
part "format" cargo fmt --all --check
part "lint" scripts/clippy.sh
part "build" cargo test --workspace --locked --no-run
# Tests of one binary share one engine, which starts no more containers a second beyond two starts a core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
# What the conformance kit finds goes into the page's table.
CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md part "tests" cargo test --workspace --locked --no-fail-fast
# An agent as somebody else would write it: outside the workspace, on the public contract alone.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
part "example agent" cargo test --manifest-path agents/example/Cargo.toml --locked
