#!/usr/bin/env bash
# bench.sh: measures speed and size on this machine's engine; prints a table and writes JSON. Its program is the binary `bench` of tests/.
#
# UPDATE=1: the README's table is written anew. ONLY=apply,one,faults,ten: these measures alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
scripts/setup.sh run
scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
scripts/node-image.sh cometbft
scripts/release.sh
. scripts/toolchain.sh
target=${CARGO_TARGET_DIR:-target}
options=(--binary "$target/release/chainpool" --json "$target/bench.json")
[ -z "${ONLY:-}" ] || options+=(--only "$ONLY")
[ "${UPDATE:-}" != 1 ] || options+=(--readme README.md)
cargo run --release --locked --package chainpool-tests --bin bench -- "${options[@]}"
