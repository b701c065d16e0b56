#!/usr/bin/env bash
# Separate Docker engines for tests that stop, kill, disconnect or replace an engine. Each runs in its own
# network namespace, with one cable (a veth pair) to this machine, and is identified by NAME.
#
#   docker.sh up NAME           start an engine and print its address; remove those of dead owners (OWNER=pid)
#   docker.sh load NAME IMAGE…  copy images from the machine's engine
#   docker.sh stop NAME         stop the engine like a service manager (SIGTERM); its containers stop too
#   docker.sh kill NAME         kill the engine (SIGKILL); its containers keep running
#   docker.sh start NAME [ID]   start it again, or with ID another engine (own identity, data) at its address.
#                               HOLD=seconds pauses it after opening its socket, like a slow start
#   docker.sh cut NAME          disconnect the cable; heal NAME reconnects it
#   docker.sh down NAME         stop it and remove all its data
#
# Needs root and Debian's docker.io, iproute2 and iptables. Addresses: unix://$T/NAME/docker.sock, which a cut
# cable does not affect, and tcp://10.78.x.11:2375, which only this machine can reach.
set -euo pipefail
T=${T:-${TMPDIR:-/tmp}/cp-docker}
usage() { sed -n '2,13p' "$0" >&2; exit 2; }
verb=${1:-}; name=${2:-}
[[ $name =~ ^[a-z][a-z0-9-]{0,30}$ ]] || usage
ns() { echo "cpdk-$1"; }
dk() { local n=$1; shift; docker -H "unix://$T/$n/docker.sock" "$@"; }
net() { cat "$T/$1/net"; }
answers() { dk "$1" version > /dev/null 2>&1; }
alive() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2> /dev/null; }
wait_gone() { local _; for _ in $(seq "$2"); do kill -0 "$1" 2> /dev/null || return 0; sleep 0.1; done; return 1; }

engine() { # NAME [ID]: uses nsenter, because "ip netns exec" remounts /sys and hides the cgroups
  local n=$1 id=${2:-first} d=$T/$1 _; mkdir -p "$d/$id"
  if alive "$d/dockerd.pid"; then echo "engine $n is already running" >&2; return 1; fi
  echo "$id" > "$d/id"; rm -f "$d/dockerd.pid" "$d/docker.sock"
  # Up to Docker 24 the engine's identity is a key outside its data: without its own key it would have that of
  # the machine's engine.
  local config='{}' version; version=$(dockerd --version | grep -oE '[0-9]+' | head -n 1)
  [ "$version" -gt 24 ] || config="{\"deprecated-key-path\": \"$d/$id/key.json\"}"
  echo "$config" > "$d/$id/daemon.json"
  setsid nohup nsenter --net="/var/run/netns/$(ns "$n")" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$n" dockerd \
    --data-root "$d/$id/data" --exec-root "$d/$id/exec" --pidfile "$d/dockerd.pid" --config-file "$d/$id/daemon.json" \
    --containerd-namespace "$(ns "$n")-$id" --containerd-plugins-namespace "$(ns "$n")-$id-p" \
    -H "unix://$d/docker.sock" -H "tcp://$(net "$n").11:2375" --tls=false >> "$d/dockerd.log" 2>&1 < /dev/null 9>&- &
  local child=$!
  if [ -n "${HOLD:-}" ]; then
    for _ in $(seq 100); do [ ! -S "$d/docker.sock" ] || break; sleep 0.1; done
    kill -STOP "$child"; sleep "$HOLD"; kill -CONT "$child"
  fi
  for _ in $(seq 600); do answers "$n" && return; kill -0 "$child" 2> /dev/null || break; sleep 0.1; done
  echo "engine $n did not start:" >&2; tail -n 20 "$d/dockerd.log" >&2; return 1
}

free_net() { # prints the first unused 10.78.x; call it under the lock
  local x f used
  for x in $(seq 1 250); do
    used=; for f in "$T"/*/net; do [ -e "$f" ] && [ "$(cat "$f")" = "10.78.$x" ] && used=1; done
    [ -n "$used" ] || ip link show "cpdk-$x" > /dev/null 2>&1 || { echo "10.78.$x"; return; }
  done
  echo "no free network 10.78.x; remove unused engines with down" >&2; return 1
}

up() {
  local n=$1 d f net x
  mkdir -p "$T"; exec 9> "$T/lock"; flock 9
  for f in "$T"/*/owner; do
    [ -e "$f" ] || continue
    d=$(basename "$(dirname "$f")"); [ "$d" = "$n" ] || alive "$f" || down "$d"
  done
  down "$n"; mkdir "$T/$n"
  [ -z "${OWNER:-}" ] || echo "$OWNER" > "$T/$n/owner"
  net=$(free_net); echo "$net" > "$T/$n/net"; x=${net##*.}
  exec 9>&-
  ip netns add "$(ns "$n")"
  ip link add "cpdk-$x" type veth peer name eth0 netns "$(ns "$n")"
  ip addr add "$net.1/24" dev "cpdk-$x"; ip link set "cpdk-$x" up
  ip -n "$(ns "$n")" addr add "$net.11/24" dev eth0; ip -n "$(ns "$n")" link set lo up; ip -n "$(ns "$n")" link set eth0 up
  ip -n "$(ns "$n")" route add default via "$net.1"
  engine "$n"; echo "$net.11"
}

stop() {
  local p; alive "$T/$1/dockerd.pid" || return 0
  p=$(cat "$T/$1/dockerd.pid"); kill "$p"; wait_gone "$p" 600 || { echo "engine $1 ($p) does not stop" >&2; return 1; }
  rm -f "$T/$1/dockerd.pid"
}

kill_engine() {
  local p; p=$(cat "$T/$1/dockerd.pid"); kill -9 "$p"; wait_gone "$p" 100; rm -f "$T/$1/dockerd.pid"
}

shims() { # prints the containerd shims of this engine's namespaces
  local p; for p in /proc/[0-9]*; do
    if tr '\0' ' ' 2> /dev/null < "$p/cmdline" | grep -q "^[^ ]*containerd-shim.* -namespace $(ns "$1")-[a-z]* "; then echo "${p#/proc/}"; fi
  done
}

down() { # also after a killed run
  local n=$1 d=$T/$1 id m p _
  [ -e "$d" ] || return 0
  for id in "$d"/*/data; do # each engine that ran here removes its own containers
    [ -e "$id" ] && [ -e "/var/run/netns/$(ns "$n")" ] || continue
    id=$(basename "$(dirname "$id")")
    if ! answers "$n" || [ "$(cat "$d/id")" != "$id" ]; then stop "$n"; engine "$n" "$id" || true; fi
    # Removing a container that is being removed fails; retry.
    for _ in $(seq 50); do
      answers "$n" && [ -n "$(dk "$n" ps -aq)" ] || break
      dk "$n" ps -aq | xargs -r docker -H "unix://$d/docker.sock" rm -fv > /dev/null 2>&1 || sleep 0.1
    done
    stop "$n"
  done
  for p in $(shims "$n"); do kill -9 "$p" 2> /dev/null || true; done
  for m in $(awk -v d="$d/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r); do umount -l "$m" || true; done
  ip netns del "$(ns "$n")" 2> /dev/null || true
  if [ -e "$d/net" ]; then p=$(net "$n"); ip link del "cpdk-${p##*.}" 2> /dev/null || true; fi
  rm -rf "$d"
}

cable() { # down at the engine's end: this end keeps its route, so that packets for 10.78.x do not take the default route
  ip -n "$(ns "$1")" link set eth0 "$2"
  [ "$2" = down ] || ip -n "$(ns "$1")" route replace default via "$(net "$1").1"
}

case $verb in
  up) up "$name" ;; load) shift 2; docker save "$@" | dk "$name" load -q ;;
  stop) stop "$name" ;; kill) kill_engine "$name" ;; start) engine "$name" "${3:-first}" ;;
  cut) cable "$name" down ;; heal) cable "$name" up ;; down) down "$name" ;;
  *) usage ;;
esac
