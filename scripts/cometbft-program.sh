#!/usr/bin/env bash
# cometbft-program.sh: builds the program of the node image for tests and prints its path. It is cached for
# each state of its module.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/chainpool/cometbft
hash=$(find baseimage/cometbft -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32)
program=$cache/$hash/usr/bin/cometbft
if [ ! -x "$program" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/building.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
  baseimage/cometbft/build.sh "$work/root" "$arch" >&2
  # A concurrent run may have finished first.
  mv -T "$work/root" "$cache/$hash" 2>/dev/null || [ -x "$program" ]
fi
echo "$program"
