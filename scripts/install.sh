#!/usr/bin/env bash
# install.sh: distributes our images. REGISTRY=host[:port][/path] pushes them; HOST=unix://…|tcp://… loads
# them into an engine. IMAGES="base tools cometbft fabric-orderer fabric-peer fabric-ca fabric-chaincode
# chainpool" selects images by their directories in baseimage/.
#
# Registry credentials: REGISTRY_USER and REGISTRY_PASSWORD or REGISTRY_PASSWORD_FILE. Client certificates for
# tcp:// with TLS: DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or HOST_CERT_PATH for HOST only.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

# Some shells set HOST to the machine's name, which is not an engine.
case ${HOST:-} in *://*) ;; *) HOST='' ;; esac
if [ -z "${REGISTRY:-}" ] && [ -z "$HOST" ]; then
  echo "install: set a target: make install REGISTRY=registry.example:5000/team, or make install HOST=tcp://engine.example:2376" >&2
  exit 2
fi

# references_of NAME: prints the references of the image of baseimage/NAME on the engine.
references_of() (
  name='' version=''
  # shellcheck source=/dev/null
  . "baseimage/$1/image.conf"
  printf '%s\n' "$name:$arch-$version" "$name:$version" "$name:latest"
)

read -r -a images <<<"${IMAGES:-base tools cometbft fabric-orderer fabric-peer fabric-ca fabric-chaincode chainpool}"
scripts/setup.sh run
scripts/engine.sh start
arch=$(engine_arch)
references=()
for image in "${images[@]}"; do
  scripts/image.sh "$image"
  mapfile -t -O "${#references[@]}" references < <(references_of "$image")
done

# registry_login: prints the X-Registry-Auth header value: base64url of a JSON object; empty credentials are
# anonymous.
registry_login() {
  local password=${REGISTRY_PASSWORD:-}
  if [ -n "${REGISTRY_PASSWORD_FILE:-}" ]; then password=$(cat "$REGISTRY_PASSWORD_FILE"); fi
  password=${password//\\/\\\\}
  printf '{"username":"%s","password":"%s","serveraddress":"%s"}' "${REGISTRY_USER:-}" "${password//\"/\\\"}" "${REGISTRY%%/*}" |
    base64 | tr -d '\n' | tr '+/' '-_'
}

push() {
  local reference repository tag status
  for reference in "${references[@]}"; do
    repository=$REGISTRY/${reference%:*} tag=${reference##*:}
    engine_do "/images/$reference/tag?repo=$(engine_quote "$repository")&tag=$tag"
    status=0
    # Pass the header in a file descriptor: command lines are visible to all users.
    engine_do "/images/$repository/push?tag=$tag" -H @<(echo "X-Registry-Auth: $(registry_login)") || status=$?
    engine_curl "/images/$repository:$tag" -X DELETE --output /dev/null
    [ "$status" = 0 ] || exit "$status"
    echo "install: pushed $repository:$tag"
  done
}

load() {
  local query='' reference file
  file=$(mktemp)
  trap 'rm -f "$file"' RETURN
  for reference in "${references[@]}"; do query+="&names=$(engine_quote "$reference")"; done
  engine_curl "/images/get?${query#&}" --output "$file"
  DOCKER_HOST=$HOST DOCKER_CERT_PATH=${HOST_CERT_PATH:-${DOCKER_CERT_PATH:-}} \
    engine_do "/images/load?quiet=1" -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$file"
  echo "install: loaded ${references[*]} into $HOST"
}

[ -z "${REGISTRY:-}" ] || push
[ -z "$HOST" ] || load
