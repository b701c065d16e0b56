#!/usr/bin/env bash
# fabric-check.sh: checks format, vet and unit tests of the external builder and the chaincode in
# baseimage/fabric.
set -euo pipefail
cd "$(dirname "$0")/.."
. baseimage/fabric/module.sh
unformatted=$(gofmt -l baseimage/fabric)
[ -z "$unformatted" ] || { echo "not formatted, run gofmt -w: $unformatted" >&2; exit 1; }
fabric_go vet -mod=readonly ./ccaas ./chaincode
fabric_go test -mod=readonly ./ccaas ./chaincode
