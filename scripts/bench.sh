#!/usr/bin/env bash
# bench.sh: measures speed and size on this machine's engine and on the test beds with the binary `bench` of
# tests/. Prints a table and writes JSON.
#
# UPDATE=1: rewrite the table in docs/performance.md, or with ONLY the rows of these measures.
# ONLY=apply,fillup,fleet,one,fabric,faults,ten,swarm,kubernetes: only these measures. `apply`, `fillup` and `fleet`
# need no engine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/beds.sh
scripts/setup.sh run
needs_engine=
for measure in one fabric faults ten swarm kubernetes; do
  [[ ,${ONLY:-$measure}, != *,$measure,* ]] || needs_engine=1
done
if [ -n "$needs_engine" ]; then
  scripts/engine.sh start
  DOCKER_HOST=$(engine_address)
  export DOCKER_HOST
  for node in cometbft fabric-orderer fabric-peer; do scripts/node-image.sh "$node"; done
  scripts/image.sh fabric-chaincode
  scripts/release.sh
  scripts/release.sh dist
fi
. scripts/toolchain.sh
target=${CARGO_TARGET_DIR:-target}
# The program starts a bed only for its measure, so that it does not disturb the others.
for platform in swarm kubernetes; do
  [[ ,${ONLY:-$platform}, == *,$platform,* ]] || continue
  scripts/image.sh tools
  beds_note "$platform"
  bed_prepare "$platform"
done
trap beds_end EXIT
options=(--binary "$target/release/chainpool" --small "$target/dist/chainpool" --json "$target/bench.json")
[ -z "${ONLY:-}" ] || options+=(--only "$ONLY")
[ "${UPDATE:-}" != 1 ] || options+=(--page docs/performance.md)
# `apply`, `fillup` and `fleet` run the server inside the program, so it is built like the binary in the image.
cargo run --profile dist --locked --package chainpool-tests --bin bench -- "${options[@]}"
