# shellcheck shell=bash
# engine-api.sh: calls the Docker engine's HTTP API with curl, so that no docker client is needed. Source it.

# engine_address: prints the engine's address: $DOCKER_HOST, the first usual socket that exists, or the
# default socket.
engine_address() {
  if [ -n "${DOCKER_HOST:-}" ]; then echo "$DOCKER_HOST"; return; fi
  local socket
  for socket in /var/run/docker.sock "${XDG_RUNTIME_DIR:-/nonexistent}/docker.sock" "${HOME:-/root}/.docker/run/docker.sock"; do
    if [ -S "$socket" ] && [ -w "$socket" ]; then echo "unix://$socket"; return; fi
  done
  echo unix:///var/run/docker.sock
}

# engine_curl PATH [CURL_ARGUMENT…]: one call; fails on a status of 400 or above, with the engine's message on
# stderr.
engine_curl() {
  local path=$1 address options
  shift
  address=$(engine_address)
  case $address in
    unix://*) options=(--unix-socket "${address#unix://}" "http://engine$path") ;;
    tcp://*)
      if [ -n "${DOCKER_TLS_VERIFY:-}" ]; then
        local certs=${DOCKER_CERT_PATH:-${HOME:-/root}/.docker}
        options=(--cacert "$certs/ca.pem" --cert "$certs/cert.pem" --key "$certs/key.pem" "https://${address#tcp://}$path")
      else
        options=("http://${address#tcp://}$path")
      fi ;;
    *) echo "unsupported engine address $address: set DOCKER_HOST to unix:// or tcp://" >&2; return 2 ;;
  esac
  curl --silent --show-error --fail-with-body --noproxy '*' --connect-timeout 5 "$@" "${options[@]}"
}

# engine_answers: succeeds if an engine responds.
engine_answers() { [ "$(engine_curl /_ping --max-time 5 2>/dev/null)" = OK ]; }

# engine_shut: prints the socket of an engine that this user may not access; fails if there is none.
engine_shut() {
  local address socket
  address=$(engine_address)
  socket=${address#unix://}
  [ "$socket" != "$address" ] && [ -S "$socket" ] && ! [ -w "$socket" ] && echo "$socket"
}

# engine_shut_message SOCKET: prints advice on accessing it.
engine_shut_message() {
  local user group
  user=$(id -un 2>/dev/null || id -u)
  group=$(stat -c %G "$1" 2>/dev/null || true)
  echo "The user $user may not access the Docker engine at $1."
  case $group in
    '' | root | UNKNOWN) echo "Run as root, or set DOCKER_HOST to another engine." ;;
    *) echo "Add the user to the group (sudo usermod -aG $group $user) and log in again, or set DOCKER_HOST to another engine." ;;
  esac
}

# engine_arch: prints the architecture of the engine's machine: amd64, arm64, …
engine_arch() { engine_curl /version | sed 's/.*"Arch":"\([^"]*\)".*/\1/'; }

# engine_quote VALUE: encodes a value for a query string.
engine_quote() {
  local LC_ALL=C text=$1 out='' i c
  for ((i = 0; i < ${#text}; i++)); do
    c=${text:i:1}
    case $c in
      [a-zA-Z0-9._~-]) out+=$c ;;
      *) printf -v c '%%%02X' "'$c"; out+=$c ;;
    esac
  done
  printf '%s' "$out"
}

# engine_has REFERENCE [LABEL=VALUE]: succeeds if the engine has this image with this label.
engine_has() {
  local filters="{\"reference\":[\"$1\"]"
  [ -z "${2:-}" ] || filters+=",\"label\":[\"$2\"]"
  local list
  list=$(engine_curl "/images/json?filters=$(engine_quote "$filters}")" --max-time 60) || return 2
  [ "$list" != '[]' ]
}

# engine_image_id NAME: prints the id of the image; nothing if there is none.
engine_image_id() {
  local list
  list=$(engine_curl "/images/json?filters=$(engine_quote "{\"reference\":[\"$1\"]}")" --max-time 60) || return 2
  case $list in *'"Id":"'*) list=${list#*'"Id":"'}; echo "${list%%\"*}" ;; esac
}

# engine_do PATH [CURL_ARGUMENT…]: engine_curl for pull, import, load, push and tag. These may return 200 and
# report a failure in the stream. Prints failures on stderr.
engine_do() {
  local answer status=0
  answer=$(engine_curl "$@" -X POST) || status=$?
  case $answer in *'"errorDetail"'* | *'"error":'*) status=1 ;; esac
  [ "$status" = 0 ] || printf '%s\n' "$answer" | tail -n 5 >&2
  return "$status"
}
