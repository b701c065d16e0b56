#!/usr/bin/env bash
# clean.sh: removes what cargo built in this checkout. Data, images and networks stay.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf target
echo "clean: target removed"
