#!/usr/bin/env bash
# test-full.sh: `make test-full`: `make test` plus sweeps, faults, platforms and the ledgers' own programs.
#
# PARTS="faults sweeps" selects parts, which are listed below. A part that passed at this commit on this
# machine is skipped, unless it is selected or the working tree has changes. BACKGROUND=1 runs detached and
# prints the path of the output. A failed part does not stop the others.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

all_parts=(test documentation schemathesis clients faults sweeps processes example swarm kubernetes)
state=${CHAINPOOL_STATE:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/chainpool}/test-full
mkdir -p "$state"

if [ "${BACKGROUND:-}" = 1 ]; then
  log=$state/$(date +%Y%m%d-%H%M%S).log
  BACKGROUND='' setsid nohup scripts/test-full.sh >"$log" 2>&1 </dev/null &
  echo "test-full: running in the background (process $!); output in $log, with the counts in its last line"
  exit
fi

read -r -a named <<<"${PARTS:-}"
for name in "${named[@]}"; do
  [[ " ${all_parts[*]} " == *" $name "* ]] || { echo "test-full.sh: use PARTS from ${all_parts[*]}; not $name" >&2; exit 2; }
done

# mark PART: the file that marks a passed part at this commit. A working tree with changes has no marks.
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit=''
mark() { echo "$state/$commit.$1"; }

wanted() {
  local part=$1
  [ "${#named[@]}" = 0 ] || { [[ " ${named[*]} " == *" $part "* ]]; return; }
  [ -n "$commit" ] && [ -e "$(mark "$part")" ] || return 0
  echo "== $part: already passed at this commit on this machine"
  return 1
}

. scripts/part.sh
trap part_report EXIT
export KEEP_GOING=1
failed=0

# run PART COMMAND…: runs a part if it is wanted.
run() {
  local part=$1
  wanted "$part" || return 0
  if part "$@"; then [ -z "$commit" ] || touch "$(mark "$part")"; else failed=1; fi
}

# Preparation of all parts, which is mandatory.
KEEP_GOING='' part "setup" scripts/setup.sh test
. scripts/toolchain.sh
KEEP_GOING='' part "engine" scripts/engine.sh start
DOCKER_HOST=$(engine_address)
export DOCKER_HOST
run test scripts/test.sh

prepared=''
# prepare: builds images and test programs once.
prepare() {
  [ -z "$prepared" ] || return 0
  KEEP_GOING='' part "leftovers" scripts/leftovers.sh
  KEEP_GOING='' part "images" scripts/images.sh cometbft fabric-orderer fabric-peer fabric-ca fabric-chaincode
  KEEP_GOING='' part "lint and build" scripts/test-build.sh
  prepared=1
}
. scripts/test-build.sh env
export RUST_LIB_BACKTRACE=0
tests=(cargo test --workspace --all-features --locked --no-fail-fast)

any_wanted() { local part; for part; do if wanted "$part" >/dev/null; then return 0; fi; done; return 1; }
if any_wanted faults sweeps processes; then prepare; fi

documentation() {
  RUSTC_WORKSPACE_WRAPPER='' RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked &&
    cargo fmt --manifest-path agents/example/Cargo.toml --check
}
run documentation documentation

# Tests of the OpenAPI description with random requests and generated clients. Both need the server's binary.
if any_wanted schemathesis clients; then
  KEEP_GOING='' part "setup of clients" scripts/setup.sh api
  KEEP_GOING='' part "server" cargo build --workspace --all-features --locked --bin chainpool
fi
run schemathesis scripts/schemathesis.sh
run clients scripts/generated-clients.sh

# with_images TEST IMAGE…: runs the ignored tests of that name, which need official images.
with_images() {
  local tests_named=$1 image missing=
  shift
  for image; do engine_has "$image" || missing+=" $image"; done
  if [ -z "$missing" ]; then
    "${tests[@]}" --test it "$tests_named" -- --ignored
  else
    echo "!!! not run: $tests_named; images missing on the engine:$missing"
  fi
}
faults() {
  local status=0
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} "${tests[@]}" --test it full:: -- --skip full::crash || status=1
  with_images fabric_bft hyperledger/fabric-orderer:3.1.5 hyperledger/fabric-peer:3.1.5 || status=1
  with_images fabric_couchdb couchdb:3.4.2 || status=1
  return "$status"
}
run faults faults

sweeps() { RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} "${tests[@]}" --test it full::crash; }
run sweeps sweeps

# The ledgers' own programs: configtxgen reads our blocks, and nodes as processes fail in ways that engines do
# not. Each node has its own loopback address, which only root can assign.
processes() {
  if [ "$(id -u)" != 0 ]; then
    echo "!!! SKIPPED: ledgers as processes, which need root to assign addresses"
    return
  fi
  scripts/fabric-check.sh || return
  FABRIC_TOOLS=$(scripts/fabric-tools.sh) || return
  COMETBFT=$(scripts/cometbft-program.sh) || return
  export FABRIC_TOOLS COMETBFT
  "${tests[@]}" --lib full:: && "${tests[@]}" --test processes -- --test-threads 1
}
run processes processes

# The example agent, outside the workspace, on the public contract.
example() {
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
  RUSTC_WORKSPACE_WRAPPER='' cargo clippy --manifest-path agents/example/Cargo.toml --all-targets --locked -- -D warnings &&
    RUSTC_WORKSPACE_WRAPPER='' cargo test --manifest-path agents/example/Cargo.toml --locked
}
run example example

# The conformance kit, agent tests and pools on a real swarm and a real Kubernetes cluster on this machine.
for platform in swarm kubernetes; do run "$platform" scripts/test-platforms.sh "$platform"; done
exit "$failed"
