#!/usr/bin/env bash
# test.sh: `make test`, which every change must pass: format, clippy, unit and façade tests, every route, the conformance kit on Docker, one pool of
# each network type on this machine's engine, and the dashboard in a browser. Tests in modules named `full` are left to test-full.sh.
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
# Images are made beside the compilation: neither keeps both processors busy all the time. They have a process group of their own, so that they end
# with this script when the compilation fails.
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
# Tests of one binary share one engine, which starts no more containers a second beyond two starts a core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
# What cannot run on this machine fails, instead of being skipped: a green run has held everything. Empty lets it be skipped.
export CHAINPOOL_CI=${CHAINPOOL_CI-1}
# The error of a test says what went wrong; sixty lines of backtrace would hide it.
export RUST_LIB_BACKTRACE=0
part "tests" cargo test --workspace --all-features --locked --tests --no-fail-fast -- --skip full::
