#!/usr/bin/env bash
# test-platforms.sh [kit] [swarm|kubernetes…]: runs the conformance kit, agent tests and pools on real
# multi-machine platforms; with `kit` only the conformance kit.
#
# Uses test beds that already run or are named by the environment (tests/testbeds/*.sh); others are started
# and removed again. Platforms run in parallel, because they mostly wait. Tests without a platform on this
# machine are reported as SKIPPED, never as passed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/part.sh
. scripts/beds.sh
kit_only=''
if [ "${1:-}" = kit ]; then kit_only=1; shift; fi
[ $# -gt 0 ] || set -- swarm kubernetes
for platform; do
  case $platform in swarm | kubernetes) ;; *) echo "test-platforms.sh: use swarm or kubernetes; not $platform" >&2; exit 2 ;; esac
done

platforms=("$@")
beds_note "${platforms[@]}"
trap 'part_report; beds_end' EXIT

part "setup" scripts/setup.sh test
. scripts/toolchain.sh
part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
part "node image" scripts/node-image.sh cometbft
part "tools image" scripts/image.sh tools
if [ -z "$kit_only" ]; then
  for node in fabric-orderer fabric-peer fabric-ca; do part "node image $node" scripts/node-image.sh "$node"; done
  part "chaincode image" scripts/image.sh fabric-chaincode
fi
for platform in "${platforms[@]}"; do part "$platform" bed_prepare "$platform"; done
selected=()
for platform in "${platforms[@]}"; do
  selected+=(--test "kit_$platform")
  [ -n "$kit_only" ] || selected+=(--test "$platform" --test platforms)
done
part "build" cargo test --workspace --all-features --locked --no-run "${selected[@]}"
# The test of Chainpool as a pod runs the binary.
[ -n "$kit_only" ] || part "build the program" cargo build --locked --bin chainpool

# Tests of one platform share its bed, so they run one by one.
export RUST_TEST_THREADS=1
# A long backtrace would hide the error of a test.
export RUST_LIB_BACKTRACE=0
# The conformance kit writes its results into this table.
export CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md
# platform_tests NAME: runs all tests on one platform, even after failures.
platform_tests() {
  if [ -n "$kit_only" ]; then
    cargo test --workspace --all-features --locked --test "kit_$1"
    return
  fi
  local bed=0 failed=0 leave_out=() owned=CHAINPOOL_TEST_SWARM
  [ "$1" = swarm ] || owned=CHAINPOOL_TEST_KUBECONFIG
  "tests/testbeds/$1.sh" up >/dev/null || bed=$?
  case $bed in
    0)
      if [ -n "${!owned:-}" ]; then
        echo "!!! SKIPPED: pools that lose machines, and the pool of Chainpool as a pod, because the platform is external"
        leave_out=(--skip loses --skip kept_by_a_pod)
      fi
      cargo test --workspace --all-features --locked --test platforms -- "$1" --nocapture "${leave_out[@]}" || failed=1 ;;
    3) echo "!!! SKIPPED: all pools on $1, because no test bed is available (see above)" ;;
    *) failed=1 ;;
  esac
  cargo test --workspace --all-features --locked --test "$1" || failed=1
  cargo test --workspace --all-features --locked --test "kit_$1" || failed=1
  return "$failed"
}
side_by_side() {
  local platform pids=() pid failed=0
  for platform; do
    # A pipe belongs to these two processes only. A process substitution would stay open in machines started
    # by a test.
    { platform_tests "$platform" 2>&1 | sed -u "s/^/$platform: /"; } &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}
part "${platforms[*]}" side_by_side "${platforms[@]}"
