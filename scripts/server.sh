#!/usr/bin/env bash
# server.sh run|down: starts or stops the server of `make run`, one for each data directory.
#
# DATA=directory (default /var/lib/chainpool as root, else the XDG data directory), LISTEN=address:port
# (127.0.0.1:8080), CAPACITY=clusters on this machine's engine (3), BACKGROUND=1: detached, with its output in
# DATA/serve.log; returns when the server responds.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

if [ "$(id -u)" = 0 ]; then data=/var/lib/chainpool; else data=${XDG_DATA_HOME:-$HOME/.local/share}/chainpool; fi
data=${DATA:-$data}
listen=${LISTEN:-127.0.0.1:8080}
mark=$data/serve.pid      # process id and address
patience=60               # seconds until a detached server must respond, or be stopped

command_line() {
  if [ -d /proc/self ]; then
    [ ! -r "/proc/$1/cmdline" ] || tr '\0' ' ' <"/proc/$1/cmdline"
  else
    ps -p "$1" -o args=
  fi
}

# running: prints the process id of the server of this data directory if it runs. The id may have been reused
# by another program.
running() {
  local pid
  pid=$(head -n 1 "$mark" 2>/dev/null) || return 1
  [ -n "$pid" ] || return 1
  case "$(command_line "$pid")" in *chainpool*' serve '*"$data"*) echo "$pid" ;; *) return 1 ;; esac
}

answers() { curl --silent --output /dev/null --noproxy '*' --max-time 2 "http://$listen/healthz"; }

# within SECONDS CHECK…: waits until the check succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  while ! "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.1
  done
}

run() {
  local pid
  if pid=$(running); then
    echo "chainpool: already running (process $pid) on http://$(sed -n 2p "$mark"), data in $data"
    return
  fi
  scripts/setup.sh run
  if answers; then
    echo "chainpool: another program listens on $listen; set another address with LISTEN=" >&2
    exit 1
  fi
  scripts/engine.sh start
  DOCKER_HOST=$(engine_address)
  export DOCKER_HOST
  build
  umask 077      # only this user may read the data directory and the log with its one-time link
  mkdir -p "$data"
  export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-2}      # as in the image: fewer heaps of glibc
  local command=("${CARGO_TARGET_DIR:-target}/release/chainpool" serve --data "$data" --listen "$listen" --init-local-host)
  [ -z "${CAPACITY:-}" ] || command+=(--capacity "$CAPACITY")
  if [ "${BACKGROUND:-}" = 1 ]; then
    run_detached "${command[@]}"
  else
    printf '%s\n%s\n' $$ "$listen" >"$mark"
    exec "${command[@]}"
  fi
}

# build: compiles the server and prepares the node image in parallel. Questions, such as on installing Go,
# come afterwards.
build() {
  local log image
  log=$(mktemp)
  if ! [ -x "${CARGO_TARGET_DIR:-target}/release/chainpool" ]; then
    echo "chainpool: compiling the server, about 6 minutes on two cores the first time; pulling or building the node image meanwhile"
  fi
  set -m      # a separate process group, which ends with this script
  scripts/node-image.sh cometbft >"$log" 2>&1 </dev/null &
  image=$!
  set +m
  # shellcheck disable=SC2064 # these values, now
  trap "kill -- -$image 2>/dev/null || true; rm -f '$log'" EXIT
  scripts/release.sh
  if kill -0 "$image" 2>/dev/null; then echo "chainpool: server compiled; waiting for the node image"; fi
  if wait "$image"; then cat "$log"; else scripts/node-image.sh cometbft; fi
  trap - EXIT
  rm -f "$log"
}

run_detached() {
  local pid
  setsid nohup "$@" >"$data/serve.log" 2>&1 </dev/null &
  pid=$!
  printf '%s\n%s\n' "$pid" "$listen" >"$mark"
  # The server reports the result of its first host after it has started to listen.
  up() { answers && grep -q '^Host ' "$data/serve.log"; }
  up_or_ended() { up || ! kill -0 "$pid" 2>/dev/null; }
  within "$patience" up_or_ended || true
  cat "$data/serve.log"
  if kill -0 "$pid" 2>/dev/null && up; then
    echo "chainpool: running in the background (process $pid), log in $data/serve.log; make down stops it"
    return
  fi
  kill "$pid" 2>/dev/null || true
  echo "chainpool: failed to start and was stopped; see its log $data/serve.log" >&2
  exit 1
}

down() {
  local pid
  if ! pid=$(running); then
    echo "chainpool: no server is running with data in $data"
    return
  fi
  kill "$pid"
  gone() { ! running >/dev/null; }
  within "$patience" gone || { echo "chainpool: process $pid does not stop" >&2; exit 1; }
  rm -f "$mark"
  echo "chainpool: stopped; clusters keep running"
}

case ${1:-} in
  run) run ;;
  down) down ;;
  *) echo "usage: server.sh run|down" >&2; exit 2 ;;
esac
