#!/usr/bin/env bash
# install.sh: hands our images on. REGISTRY=host[:port][/path] pushes them; HOST=unix://…|tcp://… loads them into that engine.
#
# A login for the registry comes from REGISTRY_USER and REGISTRY_PASSWORD or REGISTRY_PASSWORD_FILE. For tcp:// with TLS the client's
# certificates come as usual from DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, in HOST_CERT_PATH for HOST alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

if [ -z "${REGISTRY:-}" ] && [ -z "${HOST:-}" ]; then
  echo "install: say where to: make install REGISTRY=registry.example:5000/team, or make install HOST=tcp://engine.example:2376" >&2
  exit 2
fi

for definition in base cometbft chainpool; do scripts/image.sh "$definition"; done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
cometbft=$(sed -n 's/^version=//p' baseimage/cometbft/image.conf)
arch=$(engine_arch)
references=()
for image in "chainpool-baseimage $version" "chainpool $version" "chainpool/cometbft $cometbft"; do
  read -r name tag <<<"$image"
  references+=("$name:$arch-$tag" "$name:$tag" "$name:latest")
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
  local reference repository tag
  for reference in "${references[@]}"; do
    repository=$REGISTRY/${reference%:*} tag=${reference##*:}
    engine_do "/images/$reference/tag?repo=$(engine_quote "$repository")&tag=$tag"
    # The header goes by a file descriptor: a command line is for all to see.
    engine_do "/images/$repository/push?tag=$tag" -H @<(echo "X-Registry-Auth: $(registry_login)")
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
[ -z "${HOST:-}" ] || load
