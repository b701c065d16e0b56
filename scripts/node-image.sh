#!/usr/bin/env bash
# node-image.sh NAME: ensures that the engine has the node image NAME, the official one or ours.
#
# If neither exists, pulls the official image (CHAINPOOL_PULL=0 disables this; CHAINPOOL_PULL_LIMIT in
# seconds, default 120), else builds ours.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

definition=${1:?node-image.sh NAME}
[ -f "baseimage/$definition/image.conf" ] || { echo "no baseimage/$definition/image.conf; use a directory name in baseimage/" >&2; exit 2; }
name='' official='' version=''
# shellcheck source=/dev/null
. "baseimage/$definition/image.conf"

for reference in "$official" "$name:$version"; do
  status=0
  engine_has "$reference" || status=$?
  case $status in
    0) echo "image $reference: present"; exit 0 ;;
    1) ;;
    *) exit "$status" ;;
  esac
done

limit=${CHAINPOOL_PULL_LIMIT:-120}
if [ "${CHAINPOOL_PULL:-1}" = 1 ]; then
  echo "image $official: pulling (at most $limit s)"
  if engine_do "/images/create?fromImage=$(engine_quote "${official%:*}")&tag=$(engine_quote "${official##*:}")" --max-time "$limit"; then
    echo "image $official: pulled"
    exit 0
  fi
  echo "image $official: cannot be pulled, building $name:$version instead"
fi
scripts/image.sh "$definition"
