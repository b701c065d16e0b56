#!/usr/bin/env bash
# clean.sh: removes cargo's output in this checkout. Keeps data, images and networks.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf target
echo "clean: target removed"
