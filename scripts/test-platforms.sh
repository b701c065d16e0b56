#!/usr/bin/env bash
# test-platforms.sh [kit] [swarm|kubernetes…]: the conformance kit, each agent's own tests, and pools, on real platforms of several machines;
# with `kit` the conformance kit alone. On test beds that are started here and leave no trace, on those that run already, or on those that the
# environment names (tests/testbeds/*.sh). The platforms run side by side, for they wait more than they work. What cannot be had on this machine
# is said to be SKIPPED, never passed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/part.sh
. scripts/beds.sh
kit_only=''
if [ "${1:-}" = kit ]; then kit_only=1; shift; fi
[ $# -gt 0 ] || set -- swarm kubernetes
for platform; do
  case $platform in swarm | kubernetes) ;; *) echo "test-platforms.sh: swarm or kubernetes; not $platform" >&2; exit 2 ;; esac
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
# The test of Chainpool as a pod runs the program itself.
[ -n "$kit_only" ] || part "build the program" cargo build --locked --bin chainpool

# The tests of one platform share its bed: one after the other.
export RUST_TEST_THREADS=1
# A test's error says what went wrong; sixty lines of its way here would hide that.
export RUST_LIB_BACKTRACE=0
# What the conformance kit finds goes into the page's table.
export CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md
# platform_tests NAME: everything on one platform, even when some of it fails.
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
        echo "!!! SKIPPED, not passed: pools that lose machines, and one kept by a pod with this machine's files, because the machines are their owner's"
        leave_out=(--skip loses --skip kept_by_a_pod)
      fi
      cargo test --workspace --all-features --locked --test platforms -- "$1" --nocapture "${leave_out[@]}" || failed=1 ;;
    3) echo "!!! SKIPPED, not passed: all pools on $1, because there is no bed (see above)" ;;
    *) failed=1 ;;
  esac
  cargo test --workspace --all-features --locked --test "$1" || failed=1
  cargo test --workspace --all-features --locked --test "kit_$1" || failed=1
  return "$failed"
}
side_by_side() {
  local platform pids=() pid failed=0
  for platform; do
    # A pipe, whose ends bash gives to these two alone: machines that a test starts would keep one of a process substitution open.
    { platform_tests "$platform" 2>&1 | sed -u "s/^/$platform: /"; } &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}
part "${platforms[*]}" side_by_side "${platforms[@]}"
