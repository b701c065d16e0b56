#!/usr/bin/env bash
# fabric-tools.sh: builds Fabric's programs for tests and prints their directory. The product does not use
# them.
#
# bin/ contains configtxgen, cryptogen, osnadmin, orderer, peer and our chaincode, config/ core.yaml and
# orderer.yaml, ccaas_builder/ the external builder. The directory is cached for each state of its sources.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/chainpool/fabric-tools
sources=(baseimage/fabric/{VERSION,go.mod,go.sum,module.sh} baseimage/fabric/{ccaas,chaincode} scripts/fabric-tools.sh)
hash=$(find "${sources[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32)
tools=$cache/$hash
if [ ! -d "$tools" ]; then
  echo "fabric-tools: building into $tools" >&2
  . baseimage/fabric/module.sh
  mkdir -p "$cache"
  # Build in a temporary directory and rename it, so that a directory of this name is complete.
  work=$(mktemp -d "$cache/building.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/tools" "$work/tools/bin"
  fabric_build "$work/tools/bin/" github.com/hyperledger/fabric/cmd/{configtxgen,cryptogen,osnadmin,orderer,peer} ./chaincode
  fabric_ccaas "$work/tools/ccaas_builder"
  for file in core.yaml orderer.yaml; do fabric_config "$file" "$work/tools/config"; done
  # A concurrent run may have finished first.
  mv -T "$work/tools" "$tools" 2>/dev/null || [ -d "$tools" ]
fi
echo "$tools"
