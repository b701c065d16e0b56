#!/usr/bin/env bash
# test.sh: `make test`, required for every change: format, clippy, unit and façade tests, all routes, the
# conformance kit on Docker, a pool of each network type on this machine's engine, and the dashboard in a
# browser. test-full.sh runs the tests in modules named `full`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/part.sh

part "setup" scripts/setup.sh test
. scripts/toolchain.sh
part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
part "leftovers" scripts/leftovers.sh
part "format" cargo fmt --all --check
# Build images during the compilation: neither uses both processors all the time. A separate process group
# lets them end with this script if the compilation fails.
images=$(mktemp -d)
set -m
{ scripts/images.sh cometbft fabric-orderer fabric-peer fabric-chaincode >"$images/log" 2>&1 </dev/null && touch "$images/made"; } &
images_pid=$!
set +m
trap 'part_report; kill -- "-$images_pid" 2>/dev/null || true; rm -rf "$images"' EXIT
images_made() {
  tail -n +1 -f --pid="$images_pid" "$images/log"
  [ -e "$images/made" ]
}
part "lint and build" scripts/test-build.sh
part "images" images_made
. scripts/test-build.sh env
# Tests of one binary share one engine, which gains nothing from more than two concurrent container starts per
# core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
# Tests that cannot run on this machine fail instead of being skipped. Set it empty to skip them.
export CHAINPOOL_CI=${CHAINPOOL_CI-1}
# A long backtrace would hide the error of a test.
export RUST_LIB_BACKTRACE=0
part "tests" cargo test --workspace --all-features --locked --tests --no-fail-fast -- --skip full::
