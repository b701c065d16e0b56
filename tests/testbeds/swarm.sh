#!/usr/bin/env bash
# swarm.sh: a real swarm of Docker engines on this machine, each in its own network namespace, for tests.
#
#   up [N]       start N managers (default 3, at most 9) unless they run; print their addresses
#   load IMAGE…  copy images from the machine's own engine ($DOCKER_HOST) into every engine
#   stop K       kill the K-th engine; its containers keep running
#   start K      start it again
#   cut K        disconnect the cable of the K-th machine
#   heal K       reconnect it
#   status       show one line for each machine; exit with status 1 if it is down
#   down         stop the swarm and remove all data
#
# Needs root, Linux, and Debian's docker.io, iproute2, iptables, util-linux and curl. Exits with status 3 and
# the reason if unavailable.
# CHAINPOOL_TEST_SWARM lists managers of an existing swarm, separated by commas: `up` prints it, starts nothing.
# The engines listen on unix sockets and on tcp://10.77.0.1K:2375, which only this machine can reach.
# Published ports are at 10.77.0.1K.
set -euo pipefail
. "$(dirname "$0")/../../scripts/engine-api.sh"
own_engine=$(engine_address)

bed=${CHAINPOOL_TESTBED_SWARM:-/tmp/chainpool-testbed-swarm}
net=10.77.0
bridge=cpsw0
patience=60

skip() { echo "swarm test bed: skipped: $*" >&2; exit 3; }
say() { echo "swarm test bed: $*" >&2; }
machines() { seq "$(cat "$bed/machines" 2>/dev/null || echo 0)"; }
address() { echo "$net.1$1"; }

# on K PATH [CURL_ARGUMENT…]: one call to the K-th engine.
on() { local k=$1; shift; DOCKER_HOST=unix://$bed/$k/docker.sock engine_curl "$@"; }
do_on() { local k=$1; shift; DOCKER_HOST=unix://$bed/$k/docker.sock engine_do "$@"; }
answers() { DOCKER_HOST=unix://$bed/$1/docker.sock engine_answers; }

# runs PID NAME: succeeds if the process runs. A zombie does not.
runs() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null && [[ $stat == "$1 ($2) "[!ZX]* ]]
}

# Print the process ids of the K-th dockerd and its containerd if they run. An id may have been reused by
# another process.
dockerd_of() { process_of dockerd "$bed/$1/dockerd.pid"; }
containerd_of() { process_of containerd "$bed/$1/exec/containerd/containerd.pid"; }
process_of() {
  local pid
  pid=$(cat "$2" 2>/dev/null) && runs "$pid" "$1" && echo "$pid"
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

machine() { case ${1:-} in [1-9]) [ -d "$bed/$1" ] && return ;; esac; say "no machine ${1:-}: use a number of status"; exit 2; }

check() {
  [ "$(uname)" = Linux ] || skip "network namespaces need Linux"
  [ "$(id -u)" = 0 ] || skip "network namespaces need root"
  local program
  for program in dockerd ip iptables nsenter unshare curl; do
    command -v "$program" >/dev/null || skip "$program is missing: apt-get install --no-install-recommends docker.io iproute2 iptables util-linux curl"
  done
  [ -e "$bed/machines" ] && return
  if ip link show "$bridge" >/dev/null 2>&1; then skip "the link $bridge already exists: stop the other test bed, or run ip link del $bridge"; fi
  if [ -n "$(ip route show "$net.0/24")" ]; then skip "$net.0/24 is in use on this machine"; fi
}

# Starts an engine with nsenter, because `ip netns exec` remounts /sys and hides the cgroups.
engine_launch() {
  local k=$1 d=$bed/$1
  dockerd_of "$k" >/dev/null && return
  mkdir -p "$d"
  # A killed dockerd takes its containerd with it. Delete the pid file: the next dockerd trusts it even if the
  # id was reused.
  within "$patience" not_running "$k"
  rm -f "$d/dockerd.pid" "$d/exec/containerd/containerd.pid"
  setsid nohup nsenter --net="/var/run/netns/cpsw-$k" unshare --uts sh -c 'hostname "$0"; exec "$@"' "machine-$k" \
    dockerd --data-root "$d/data" --exec-root "$d/exec" --pidfile "$d/dockerd.pid" --containerd-namespace "cpsw-$k" \
    --containerd-plugins-namespace "cpsw-p-$k" --host "unix://$d/docker.sock" --host "tcp://$(address "$k"):2375" --tls=false \
    >>"$d/dockerd.log" 2>&1 </dev/null 9>&- &
}

engine_wait() {
  within "$patience" answers "$1" && return
  tail -n 5 "$bed/$1/dockerd.log" >&2 || true
  return 1
}

cable_make() {
  local k=$1
  [ -e "/var/run/netns/cpsw-$k" ] || ip netns add "cpsw-$k"
  if ! ip link show "cpsw-$k" >/dev/null 2>&1; then
    ip link add "cpsw-$k" type veth peer name eth0 netns "cpsw-$k"
    ip -n "cpsw-$k" addr add "$(address "$k")/24" dev eth0
    ip -n "cpsw-$k" link set lo up
    ip -n "cpsw-$k" link set eth0 up
    ip -n "cpsw-$k" route add default via "$net.1"
  fi
  ip link set "cpsw-$k" master "$bridge" up
}

switch_make() {
  if ! ip link show "$bridge" >/dev/null 2>&1; then
    ip link add "$bridge" type bridge
    ip addr add "$net.1/24" dev "$bridge"
  fi
  ip link set "$bridge" up
  # Docker sets the FORWARD policy to DROP, which may apply to bridged frames.
  iptables -w -C FORWARD -i "$bridge" -o "$bridge" -j ACCEPT 2>/dev/null || iptables -w -I FORWARD -i "$bridge" -o "$bridge" -j ACCEPT
}

# field NAME: prints the first string field of that name in a JSON object.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1; }
is_member() { [ "$(on "$1" /info --max-time 10 | field LocalNodeState)" = active ]; }
is_in_charge() { on "$1" /swarm --max-time 10 >/dev/null 2>&1; }

swarm_join() {
  local k token json='Content-Type: application/json'
  if ! is_member 1; then
    # The address pool does not overlap with networks of tests.
    on 1 /swarm/init -X POST -H "$json" --max-time 60 \
      -d "{\"ListenAddr\":\"0.0.0.0:2377\",\"AdvertiseAddr\":\"$(address 1)\",\"DefaultAddrPool\":[\"10.88.0.0/16\"],\"SubnetSize\":24}" >/dev/null
  fi
  within "$patience" is_in_charge 1 || return 1
  token=$(on 1 /swarm | sed -n 's/.*"Manager":"\(SWMTKN[^"]*\)".*/\1/p')
  for k in $(machines); do
    is_member "$k" || on "$k" /swarm/join -X POST -H "$json" --max-time 60 -d "{\"ListenAddr\":\"0.0.0.0:2377\",\"AdvertiseAddr\":\"$(address "$k")\",\"RemoteAddrs\":[\"$(address 1):2377\"],\"JoinToken\":\"$token\"}" >/dev/null
  done
  # After an election the new leader considers all machines down until they report.
  for k in $(machines); do within "$patience" sees_all "$k" || return 1; done
}
sees_all() { [ "$(on "$1" /nodes --max-time 10 2>/dev/null | grep -o '"State":"ready"' | wc -l)" = "$(machines | wc -l)" ]; }

addresses() {
  local k list=''
  for k in $(machines); do list+=",tcp://$(address "$k"):2375"; done
  echo "${list#,}"
}

# up [N]: starts the complete swarm; removes it again on a failure.
up() {
  local n=${1:-3} k failed=''
  case $n in [1-9]) ;; *) say "use 1 to 9 machines, not $n"; exit 2 ;; esac
  check
  # A bed without running engines was killed with its tests: recreate it, without their objects.
  if [ -e "$bed/machines" ] && ! lives; then down; fi
  mkdir -p "$bed"
  [ -e "$bed/machines" ] || echo "$n" >"$bed/machines"
  switch_make || failed="cannot create the bridge $bridge"
  [ -n "$failed" ] || for k in $(machines); do cable_make "$k" || failed="cannot create the network of machine $k"; done
  if [ -z "$failed" ]; then
    for k in $(machines); do engine_launch "$k"; done
    for k in $(machines); do engine_wait "$k" || failed="engine $k does not respond"; done
  fi
  [ -n "$failed" ] || swarm_join || failed="cannot join the engines in a swarm"
  if [ -n "$failed" ]; then down; skip "$failed"; fi
  addresses
}

lives() { local k; for k in $(machines); do ! dockerd_of "$k" >/dev/null || return 0; done; return 1; }

load() {
  local k file query='' image
  file=$(mktemp)
  # shellcheck disable=SC2064 # expand now
  trap "rm -f '$file'" EXIT
  for image in "$@"; do query+="&names=$(engine_quote "$image")"; done
  DOCKER_HOST=$own_engine engine_curl "/images/get?${query#&}" --output "$file"
  for k in $(machines); do do_on "$k" "/images/load?quiet=1" -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$file"; done
}

stop() {
  local pid
  pid=$(dockerd_of "$1") || return 0
  kill -9 "$pid"
  within "$patience" not_running "$1"
}
not_running() { ! dockerd_of "$1" >/dev/null && ! containerd_of "$1" >/dev/null; }

# machine_remove K: removes containers through the engine, then processes by id, mounts and network.
machine_remove() {
  local k=$1 id pid mount
  if [ -e "/var/run/netns/cpsw-$k" ]; then
    engine_launch "$k"
    if engine_wait "$k" 2>/dev/null; then
      on "$k" "/swarm/leave?force=1" -X POST --max-time 60 >/dev/null 2>&1 || true
      for id in $(on "$k" "/containers/json?all=1" | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4 | sort -u); do
        on "$k" "/containers/$id?force=1&v=1" -X DELETE --max-time 60 >/dev/null 2>&1 || true
      done
    fi
    if pid=$(dockerd_of "$k"); then
      kill "$pid"
      within "$patience" not_running "$k" || kill -9 "$pid"
    fi
    for pid in $(ip netns pids "cpsw-$k"); do kill -9 "$pid" 2>/dev/null || true; done
    within "$patience" netns_empty "$k" || say "machine $k: processes $(ip netns pids "cpsw-$k" | tr '\n' ' ')do not stop"
  fi
  awk -v d="$bed/$k/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount" || true; done
  ip link del "cpsw-$k" 2>/dev/null || true
  ip netns del "cpsw-$k" 2>/dev/null || true
}
netns_empty() { [ -z "$(ip netns pids "cpsw-$1")" ]; }

down() {
  local k
  [ -e "$bed/machines" ] || return 0
  for k in $(machines); do machine_remove "$k" & done
  wait
  while iptables -w -D FORWARD -i "$bridge" -o "$bridge" -j ACCEPT 2>/dev/null; do :; done
  ip link del "$bridge" 2>/dev/null || true
  rm -rf "$bed"
}

status() {
  local k engine cable member
  [ -e "$bed/machines" ] || { echo "down"; return 1; }
  for k in $(machines); do
    engine=stopped cable=cut member=-
    if dockerd_of "$k" >/dev/null; then engine=running; member=$(on "$k" /info --max-time 5 2>/dev/null | field LocalNodeState) || member='?'; fi
    if ip link show "cpsw-$k" 2>/dev/null | head -n 1 | grep -q '[<,]UP[,>]'; then cable=whole; fi
    echo "machine-$k tcp://$(address "$k"):2375 engine=$engine cable=$cable swarm=$member"
  done
  lives
}

if [ -n "${CHAINPOOL_TEST_SWARM:-}" ]; then
  case ${1:-} in
    up) echo "$CHAINPOOL_TEST_SWARM"; exit ;;
    down | status) say "CHAINPOOL_TEST_SWARM names an existing swarm, which this script does not manage"; exit ;;
    *) say "CHAINPOOL_TEST_SWARM names an existing swarm, whose machines this script does not manage"; exit 3 ;;
  esac
fi
# Serialize calls: several test programs may use the bed.
if [ "$(id -u)" = 0 ]; then
  exec 9>"$bed.lock"
  command -v flock >/dev/null && flock 9
fi
case ${1:-} in
  up) up "${2:-3}" ;;
  load) shift; load "$@" ;;
  stop) machine "${2:-}"; stop "$2" ;;
  start) machine "${2:-}"; engine_launch "$2"; engine_wait "$2" ;;
  cut) machine "${2:-}"; ip link set "cpsw-$2" down ;;
  heal) machine "${2:-}"; ip link set "cpsw-$2" up ;;
  status) status ;;
  down) down; rm -f "$bed.lock" ;;
  *) sed -n '2,17p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
