#!/usr/bin/env bash
# engine.sh start|stop|address: manages the Docker engine of this machine.
#
# start uses the engine that responds ($DOCKER_HOST, else the usual sockets). If there is none, it starts one
# with systemd if available, else dockerd in the background, with its log and process id in the state
# directory. stop stops only an engine that start has started.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

state=${CHAINPOOL_STATE:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/chainpool}
mark=$state/engine.started       # boot id, then "systemd" or the process id of our dockerd
log=$state/dockerd.log
patience=240                     # seconds until the engine must respond or be stopped; it first restarts containers

boot() { cat /proc/sys/kernel/random/boot_id; }

# started_by: prints how this script started the engine since boot; fails if it did not.
started_by() {
  local of by
  read -r of by 2>/dev/null <"$mark" || return 1
  [ "$of" = "$(boot)" ] && echo "$by"
}

# own_dockerd: prints the process id of our dockerd if it runs. The id may have been reused by another
# process.
own_dockerd() {
  local pid
  pid=$(started_by) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}

# within SECONDS CHECK…: waits until the check succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  while ! "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.1
  done
}

answers_or_died() { engine_answers || ! own_dockerd >/dev/null; }
dockerd_gone() { ! own_dockerd >/dev/null; }

start() {
  if engine_answers; then
    echo "engine: $(engine_address) responds"
    return
  fi
  local socket
  if socket=$(engine_shut); then
    engine_shut_message "$socket" >&2
    exit 2
  fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    echo "engine: DOCKER_HOST=$DOCKER_HOST does not respond; start it, or unset DOCKER_HOST to use this machine's engine" >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "engine: no engine responds. Start it (sudo systemctl start docker), or set DOCKER_HOST" >&2
    exit 2
  fi
  mkdir -p "$state"
  if [ -d /run/systemd/system ]; then start_by_systemd; else start_dockerd; fi
  echo "engine: started, $(engine_address) responds"
}

start_by_systemd() {
  systemctl start docker
  echo "$(boot) systemd" >"$mark"
  within "$patience" engine_answers && return
  journalctl -u docker -n 20 --no-pager >&2 || true
  echo "engine: started by systemd, but does not respond after $patience s; see the log above" >&2
  exit 1
}

start_dockerd() {
  command -v dockerd >/dev/null || { echo "engine: dockerd is not installed; make setup installs it" >&2; exit 2; }
  setsid nohup dockerd --host unix:///var/run/docker.sock >"$log" 2>&1 </dev/null &
  echo "$(boot) $!" >"$mark"
  within "$patience" answers_or_died || true
  engine_answers && return
  own_dockerd >/dev/null || rm -f "$mark"
  tail -n 20 "$log" >&2
  echo "engine: dockerd did not start; see its log $log" >&2
  exit 1
}

stop() {
  local by pid
  if ! by=$(started_by); then
    echo "engine: not started by this script, nothing to stop"
    return
  fi
  if [ "$by" = systemd ]; then
    systemctl stop docker.socket docker
  elif pid=$(own_dockerd); then
    kill "$pid"
    within "$patience" dockerd_gone || { echo "engine: process $pid does not stop" >&2; exit 1; }
  fi
  rm -f "$mark"
  echo "engine: stopped"
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  address) engine_address ;;
  *) echo "usage: engine.sh start|stop|address" >&2; exit 2 ;;
esac
