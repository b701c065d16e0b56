# shellcheck shell=bash
# api-server.sh: a server with a host on a fake engine, for tests of the OpenAPI description. Source it in the
# root of the checkout.

# python_environment DIRECTORY: creates a Python environment from DIRECTORY/requirements.txt in the cache.
# Prints its bin directory.
python_environment() {
  local wanted cache
  wanted=$(sha256sum "$1/requirements.txt" | cut -c1-16)
  cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/chainpool/python-$wanted
  if [ ! -e "$cache/complete" ]; then
    rm -rf "$cache"
    { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet --no-deps --requirement "$1/requirements.txt" && touch "$cache/complete"; } >&2
  fi
  echo "$cache/bin"
}

# api_server: starts the server and its engine. Sets CHAINPOOL_SERVER, CHAINPOOL_TOKEN (of the local
# administrator), CHAINPOOL_ENGINE and api_data.
api_server() {
  local binary=${CARGO_TARGET_DIR:-target}/debug/chainpool context
  [ -x "$binary" ] || { echo "no $binary; run scripts/test-build.sh first" >&2; return 2; }
  api_data=$(mktemp -d)
  api_processes=()
  CHAINPOOL_ENGINE=$api_data/engine.sock
  python3 tests/schemathesis/engine.py "$CHAINPOOL_ENGINE" & api_processes+=($!)
  "$binary" serve --data "$api_data/data" --listen 127.0.0.1:0 --rate-limit 0 >"$api_data/serve.log" 2>&1 & api_processes+=($!)
  context=$api_data/data/admin.context
  until [ -S "$CHAINPOOL_ENGINE" ] && [ -s "$context" ]; do
    kill -0 "${api_processes[@]}" 2>/dev/null || { cat "$api_data/serve.log" >&2; return 1; }
    sleep 0.1
  done
  CHAINPOOL_SERVER=$(sed -n 's/^server = "\(.*\)"/\1/p' "$context")
  CHAINPOOL_TOKEN=$(sed -n 's/^token = "\(.*\)"/\1/p' "$context")
  export CHAINPOOL_SERVER CHAINPOOL_TOKEN CHAINPOOL_ENGINE
  "$binary" host create local --data "$api_data/data" --address "unix://$CHAINPOOL_ENGINE" --bind 127.0.0.1 >/dev/null
}

# api_server_end: stops both. Prints ERROR lines of the server's log and fails if there are any.
api_server_end() {
  local status=$?
  [ -n "${api_data:-}" ] || return "$status"
  kill "${api_processes[@]}" 2>/dev/null || true
  wait "${api_processes[@]}" 2>/dev/null || true
  if grep -q ' ERROR ' "$api_data/serve.log"; then
    grep ' ERROR ' "$api_data/serve.log" | head -n 20 >&2
    [ "$status" != 0 ] || status=1
  fi
  rm -rf "$api_data"
  return "$status"
}
