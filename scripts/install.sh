#!/usr/bin/env bash
# install.sh: hands our images on. REGISTRY=host[:port][/path] pushes them; HOST=unix://…|tcp://… loads them into that engine.
# IMAGES="base tools cometbft fabric-orderer fabric-peer fabric-ca fabric-chaincode chainpool" chooses which, by their folder in baseimage/.
#
# A login for the registry comes from REGISTRY_USER and REGISTRY_PASSWORD or REGISTRY_PASSWORD_FILE. For tcp:// with TLS the client's
# certificates come as usual from DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, in HOST_CERT_PATH for HOST alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

# Some shells set HOST to the machine's name; that is no engine.
case ${HOST:-} in *://*) ;; *) HOST='' ;; esac
if [ -z "${REGISTRY:-}" ] && [ -z "$HOST" ]; then
  echo "install: say where to: make install REGISTRY=registry.example:5000/team, or make install HOST=tcp://engine.example:2376" >&2
  exit 2
fi

# Prints the references under which the engine has the image of baseimage/NAME.
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

# The value of the X-Registry-Auth header: base64 (URL alphabet) of a JSON object; empty means anonymous.
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
    # The header goes by a file descriptor: a command line is for all to see.
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
