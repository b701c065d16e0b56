#!/usr/bin/env bash
# bench.sh: measures speed and size on this machine's engine; prints a table and writes JSON. Its program is the binary `bench` of tests/.
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
cargo run --release --locked --package chainpool-tests --bin bench -- --binary "${CARGO_TARGET_DIR:-target}/release/chainpool"
