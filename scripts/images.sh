#!/usr/bin/env bash
# images.sh NODE…: the images of these nodes, one after the other; to be run beside a compilation.
set -euo pipefail
cd "$(dirname "$0")/.."
for node; do
  case $node in
    fabric-chaincode | tools) scripts/image.sh "$node" ;;
    *) scripts/node-image.sh "$node" ;;
  esac
done
