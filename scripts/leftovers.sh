#!/usr/bin/env bash
# leftovers.sh: deletes leftovers of killed tests on the machine's engine.
#
# A running test locks a file named after its instance, which contains the engine's address
# (tests/src/instance_lock.rs). An unlocked file belongs to a killed test, whose containers would start with
# the engine each time. Objects without such a file are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

state=${CHAINPOOL_STATE:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/chainpool}/tests

# all LIST KEY: prints the objects with the instance's label, one per line.
all() {
  local list
  list=$(engine_curl "$1filters=$(engine_quote "{\"label\":[\"chainpool.instance=$instance\"]}")" --max-time 60) || return
  { grep -o "\"$2\":\"[^\"]*\"" <<<"$list" || [ $? = 1 ]; } | cut -d '"' -f 4
}

sweep() {
  local id ids count=0
  ids=$(all '/containers/json?all=1&' Id)
  for id in $ids; do engine_curl "/containers/$id?force=1&v=1" -X DELETE --max-time 120 >/dev/null; count=$((count + 1)); done
  ids=$(all '/networks?' Id)
  for id in $ids; do engine_curl "/networks/$id" -X DELETE --max-time 60 >/dev/null; count=$((count + 1)); done
  ids=$(all '/volumes?' Name)
  for id in $ids; do engine_curl "/volumes/$id" -X DELETE --max-time 60 >/dev/null; count=$((count + 1)); done
  echo "leftovers: deleted $count objects of a killed test, instance $instance"
}

for file in "$state"/*; do
  # A finished test deletes its file.
  { exec 9<"$file"; } 2>/dev/null || continue
  instance=${file##*/}
  [ "$(cat <&9)" = "$(engine_address)" ] || { exec 9<&-; continue; }
  if flock --nonblock 9; then
    sweep
    rm -f "$file"
  fi
  exec 9<&-
done
