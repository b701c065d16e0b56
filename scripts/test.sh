#!/usr/bin/env bash
# test.sh: sets up what the tests need, then runs all of them but the pools on test beds (test-platforms.sh).
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
part "leftovers" scripts/leftovers.sh
for node in cometbft fabric-orderer fabric-peer fabric-ca; do part "node image $node" scripts/node-image.sh "$node"; done
part "chaincode image" scripts/image.sh fabric-chaincode
part "fabric programs" scripts/fabric-check.sh
part "format" cargo fmt --all --check
part "lint" scripts/clippy.sh
part "build" cargo test --workspace --locked --no-run
# Tests of one binary share one engine, which starts no more containers a second beyond two starts a core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
# A test's error says what went wrong; sixty lines of its way here would hide that.
export RUST_LIB_BACKTRACE=0
# What the conformance kit finds goes into the page's table.
CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md part "tests" cargo test --workspace --locked --no-fail-fast
# with_images WHAT TEST IMAGE…: the ignored tests of that name, which fail where the images are not: those come from nobody but their makers.
with_images() {
  local what=$1 tests=$2 image missing=
  shift 2
  for image; do engine_has "$image" || missing+=" $image"; done
  if [ -z "$missing" ]; then
    part "$what" cargo test --workspace --locked --test it "$tests" -- --ignored
  else
    echo "!!! not run, and not passed: $what; not on the engine:$missing"
  fi
}
with_images "Fabric 3.1 with BFT" fabric_bft hyperledger/fabric-orderer:3.1.5 hyperledger/fabric-peer:3.1.5
with_images "Fabric with CouchDB" fabric_couchdb couchdb:3.4.2
# Fabric's own programs: configtxgen reads our blocks, and nodes that are processes fail in ways that no engine has. Each has addresses of its
# own, which root alone may give.
if [ "$(id -u)" = 0 ]; then
  part "fabric tools" scripts/fabric-tools.sh
  FABRIC_TOOLS=$(scripts/fabric-tools.sh)
  export FABRIC_TOOLS
  part "fabric processes" cargo test --workspace --locked --lib --test fabric_processes -- --ignored --test-threads 1
else
  echo "!!! SKIPPED, not passed: Fabric as processes, because only root may give them addresses"
fi
# An agent as somebody else would write it: outside the workspace, on the public contract alone.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
part "example agent" cargo test --manifest-path agents/example/Cargo.toml --locked
# The same kit on a real swarm and a real Kubernetes cluster on this machine. A bed that cannot be had is said to be SKIPPED, never passed.
part "conformance kit" scripts/test-platforms.sh kit
