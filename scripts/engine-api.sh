# shellcheck shell=bash
# Speaks to the Docker engine over its HTTP API with curl, so that no docker client is needed. To be sourced.

# Prints the engine's address: $DOCKER_HOST, or the first of the usual sockets that exists, or the default one.
engine_address() {
  if [ -n "${DOCKER_HOST:-}" ]; then echo "$DOCKER_HOST"; return; fi
  local socket
  for socket in /var/run/docker.sock "${XDG_RUNTIME_DIR:-/nonexistent}/docker.sock" "${HOME:-/root}/.docker/run/docker.sock"; do
    if [ -S "$socket" ] && [ -w "$socket" ]; then echo "unix://$socket"; return; fi
  done
  echo unix:///var/run/docker.sock
}

# engine_curl PATH [curl's arguments]: one call; fails on a status of 400 and above, with the engine's message on stderr.
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
    *) echo "engine address $address: only unix:// and tcp:// are understood; set DOCKER_HOST" >&2; return 2 ;;
  esac
  curl --silent --show-error --fail-with-body --noproxy '*' --connect-timeout 5 "$@" "${options[@]}"
}

# Says whether an engine answers.
engine_answers() { [ "$(engine_curl /_ping --max-time 5 2>/dev/null)" = OK ]; }

# Prints the socket of an engine that this user may not use; fails when there is none such.
engine_shut() {
  local address socket
  address=$(engine_address)
  socket=${address#unix://}
  [ "$socket" != "$address" ] && [ -S "$socket" ] && ! [ -w "$socket" ] && echo "$socket"
}

# engine_shut_words SOCKET: says what to do about it.
engine_shut_words() {
  local user group
  user=$(id -un 2>/dev/null || id -u)
  group=$(stat -c %G "$1" 2>/dev/null || true)
  echo "A Docker engine is there at $1, but the user $user may not use it."
  case $group in
    '' | root | UNKNOWN) echo "Start again as root, or name another engine with DOCKER_HOST." ;;
    *) echo "Let the user in (sudo usermod -aG $group $user) and sign in again, or name another engine with DOCKER_HOST." ;;
  esac
}

# Says how the engine's machine names its architecture: amd64, arm64, …
engine_arch() { engine_curl /version | sed 's/.*"Arch":"\([^"]*\)".*/\1/'; }

# Encodes one value for a query string.
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

# engine_has REFERENCE [LABEL=VALUE]: says whether the engine has that image, with that label.
engine_has() {
  local filters="{\"reference\":[\"$1\"]"
  [ -z "${2:-}" ] || filters+=",\"label\":[\"$2\"]"
  local list
  list=$(engine_curl "/images/json?filters=$(engine_quote "$filters}")" --max-time 60) || return 2
  [ "$list" != '[]' ]
}

# Prints the id of the image with that name; nothing when there is none.
engine_image_id() {
  local list
  list=$(engine_curl "/images/json?filters=$(engine_quote "{\"reference\":[\"$1\"]}")" --max-time 60) || return 2
  case $list in *'"Id":"'*) list=${list#*'"Id":"'}; echo "${list%%\"*}" ;; esac
}

# engine_do PATH [curl's arguments]: an engine_curl for pull, import, load, push and tag. These may answer 200 and report a failure inside
# the stream; what failed is printed on stderr, nothing otherwise.
engine_do() {
  local answer status=0
  answer=$(engine_curl "$@" -X POST) || status=$?
  case $answer in *'"errorDetail"'* | *'"error":'*) status=1 ;; esac
  [ "$status" = 0 ] || printf '%s\n' "$answer" | tail -n 5 >&2
  return "$status"
}
