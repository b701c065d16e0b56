#!/usr/bin/env bash
# fabric-check.sh: format, vet and unit tests of our Go programs in baseimage/fabric: the external builder and the chaincode.
set -euo pipefail
cd "$(dirname "$0")/.."
. baseimage/fabric/module.sh
unformatted=$(gofmt -l baseimage/fabric)
[ -z "$unformatted" ] || { echo "gofmt has changes for: $unformatted" >&2; exit 1; }
fabric_go vet -mod=readonly ./ccaas ./chaincode
fabric_go test -mod=readonly ./ccaas ./chaincode
