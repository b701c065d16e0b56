#!/usr/bin/env bash
# generated-clients.sh: generates two clients from the OpenAPI description, tests them with a server and
# deletes them.
#
# The generators are openapi-python-client (Python) and openapi-generator (Java, from Maven's registry).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/api-server.sh
generator=7.17.0

bin=$(python_environment tests/clients)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/chainpool
jar=$cache/openapi-generator-cli-$generator.jar
[ -e "$jar" ] || mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
  -Dartifact="org.openapitools:openapi-generator-cli:$generator" -DoutputDirectory="$cache" -Dmdep.useBaseVersion=true

trap api_server_end EXIT
api_server
made=$api_data/clients
mkdir "$made"
curl --silent --show-error --fail --noproxy '*' "$CHAINPOOL_SERVER/api/v1/openapi.json" --output "$made/openapi.json"

# A generator that omits something only prints a warning and succeeds: treat warnings as failures.
generate() {
  local name=$1 log=$made/$1.log
  shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
  if grep -E 'Cannot parse|omitted|[^-]ERROR|Unsupported' "$log" >&2; then echo "$name omitted a part of the API; see above" >&2; return 1; fi
  echo "$name: generated"
}
generate openapi-python-client env PATH="$bin:$PATH" "$bin/openapi-python-client" generate --path "$made/openapi.json" \
  --output-path "$made/chainpool_by_python" --meta none --config tests/clients/openapi-python-client.yml
generate openapi-generator java -jar "$jar" generate --input-spec "$made/openapi.json" --generator-name python \
  --output "$made/generator" --package-name chainpool_by_generator
export PYTHONPATH=$made:$made/generator PYTHONDONTWRITEBYTECODE=1 NO_PROXY='*'
"$bin/python" tests/clients/by_openapi_python_client.py
"$bin/python" tests/clients/by_openapi_generator.py
