#!/usr/bin/env bash
# node-image.sh NAME: sees to it that the engine has an image for the network type NAME: the official one, or ours.
#
# Present: nothing is done. Else the official one is pulled (CHAINPOOL_PULL=0: not; CHAINPOOL_PULL_LIMIT: seconds, 120), else ours is made.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

definition=${1:?node-image.sh NAME}
[ -f "baseimage/$definition/image.conf" ] || { echo "no baseimage/$definition/image.conf" >&2; exit 2; }
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
  echo "image $official: cannot be pulled, making $name:$version instead"
fi
scripts/image.sh "$definition"
