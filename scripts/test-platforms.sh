#!/usr/bin/env bash
# test-platforms.sh [swarm|kubernetes…]: the conformance kit, each agent's own tests, and the life of a pool on real platforms of several
# machines: on test beds that are started here and leave no trace, or on those that the environment names (tests/testbeds/*.sh). What cannot
# be had on this machine is said to be SKIPPED, never passed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/part.sh
[ $# -gt 0 ] || set -- swarm kubernetes
for platform; do
  case $platform in swarm | kubernetes) ;; *) echo "test-platforms.sh: swarm or kubernetes; not $platform" >&2; exit 2 ;; esac
done

finish() {
  local platform
  report
  for platform in "${platforms[@]}"; do "tests/testbeds/$platform.sh" down; done
}
platforms=("$@")
trap finish EXIT

part "setup" scripts/setup.sh test
. scripts/toolchain.sh
part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
part "node image" scripts/node-image.sh cometbft
part "tools image" scripts/image.sh tools
# The beds are one each, and their engines share this machine: one test after the other.
export RUST_TEST_THREADS=1
# What the conformance kit finds goes into the page's table.
export CHAINPOOL_KIT_TABLE=$PWD/docs/agents.md
for platform in "${platforms[@]}"; do
  case $platform in
    swarm)
      part "swarm: the agent" cargo test --package chainpool-agent-docker --features testbed --locked --test swarm
      part "swarm: a pool" cargo test --package chainpool-tests --features testbed --locked --test platforms swarm
      part "swarm: the kit" cargo test --package chainpool-agent-docker --features testbed --locked --test kit_swarm ;;
    kubernetes)
      part "kubernetes: setup" scripts/setup.sh kubernetes
      part "kubernetes: the bed" tests/testbeds/kubernetes.sh up
      part "kubernetes: the agent" cargo test --package chainpool-agent-kubernetes --features testbed --locked --test kubernetes
      part "kubernetes: a pool" cargo test --package chainpool-tests --features testbed --locked --test platforms kubernetes
      part "kubernetes: the kit" cargo test --package chainpool-agent-kubernetes --features testbed --locked --test kit ;;
  esac
done
