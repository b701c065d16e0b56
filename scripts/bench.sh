#!/usr/bin/env bash
# bench.sh: measures speed and size on this machine's engine and on the test beds; prints a table and writes JSON. Its program is the binary
# `bench` of tests/.
#
# UPDATE=1: the README's table is written anew. ONLY=apply,one,fabric,faults,ten,swarm,kubernetes: these measures alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/beds.sh
scripts/setup.sh run
scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
for node in cometbft fabric-orderer fabric-peer; do scripts/node-image.sh "$node"; done
scripts/image.sh fabric-chaincode
scripts/release.sh
scripts/release.sh dist
. scripts/toolchain.sh
target=${CARGO_TARGET_DIR:-target}
# The program starts a bed when its measure comes: beside the others it would disturb.
for platform in swarm kubernetes; do
  [[ ,${ONLY:-$platform}, == *,$platform,* ]] || continue
  scripts/image.sh tools
  beds_note "$platform"
  bed_prepare "$platform"
done
trap beds_end EXIT
options=(--binary "$target/release/chainpool" --small "$target/dist/chainpool" --json "$target/bench.json")
[ -z "${ONLY:-}" ] || options+=(--only "$ONLY")
[ "${UPDATE:-}" != 1 ] || options+=(--readme README.md)
cargo run --release --locked --package chainpool-tests --bin bench -- "${options[@]}"
