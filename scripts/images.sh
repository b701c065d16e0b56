#!/usr/bin/env bash
# images.sh NODE…: prepares the images of these nodes one by one. Can run in parallel with a compilation.
set -euo pipefail
cd "$(dirname "$0")/.."
for node; do
  case $node in
    fabric-chaincode | tools) scripts/image.sh "$node" ;;
    *) scripts/node-image.sh "$node" ;;
  esac
done
