#!/usr/bin/env bash
# image.sh NAME: makes the image of baseimage/NAME on the engine, unless the engine has it from the same inputs. Pulls nothing.
#
# baseimage/NAME/image.conf says what it is called and made from, baseimage/NAME/build.sh fills a folder with its files, and the engine
# imports that folder as one layer: an import keeps the owners of files, which the COPY of engines without BuildKit does not.
# FORCE=1 makes it again in any case.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

definition=${1:?image.sh NAME}
[ -f "baseimage/$definition/image.conf" ] || { echo "no baseimage/$definition/image.conf" >&2; exit 2; }
prepare() { :; }     # what image.conf may redefine: makes inputs that are themselves built
name='' version='' licenses='' source='' inputs=() owners=() changes=()
. "baseimage/$definition/image.conf"

# One hash over the inputs' names and bytes.
inputs_hash() {
  { echo "$1"; find "${inputs[@]}" scripts/image.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-32
}

# Writes the folder as a tar in which everything is root's but what `owners` says (PATH=UID).
pack() {
  local root=$1 out=$2 rule rest=()
  for rule in "${owners[@]}"; do rest+=("--exclude=./${rule%%=*}"); done
  tar -C "$root" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@0 "${rest[@]}" -cf "$out" .
  for rule in "${owners[@]}"; do
    tar -C "$root" --sort=name --numeric-owner --owner="${rule#*=}" --group="${rule#*=}" --mtime=@0 -rf "$out" "./${rule%%=*}"
  done
}

# The query of the import: the labels and the settings of the image.
import_query() {
  local change revision query
  revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
  query="fromSrc=-&repo=$(engine_quote "$name")&tag=$(engine_quote "$arch-$version")"
  for change in "${changes[@]}" "LABEL $label" \
    "LABEL org.opencontainers.image.revision=$revision" "LABEL org.opencontainers.image.version=$version" \
    "LABEL org.opencontainers.image.licenses=\"$licenses\"" "LABEL org.opencontainers.image.source=$source"; do
    query+="&changes=$(engine_quote "$change")"
  done
  printf '%s' "$query"
}

prepare
arch=$(engine_arch)
label="io.chainpool.inputs=$(inputs_hash "$arch $name $version")"
tags=("$arch-$version" "$version" latest)
missing=0
for tag in "${tags[@]}"; do
  status=0
  engine_has "$name:$tag" "$label" || status=$?
  case $status in 0) ;; 1) missing=1 ;; *) exit "$status" ;; esac
done
if [ "$missing" = 0 ] && [ -z "${FORCE:-}" ]; then
  echo "image $name:$version: present, nothing to do"
  exit 0
fi

echo "image $name:$version: building for $arch"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
mkdir -m 1777 "$work/root/tmp"
"baseimage/$definition/build.sh" "$work/root" "$arch"
pack "$work/root" "$work/root.tar"
engine_do "/images/create?$(import_query)" -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$work/root.tar"
for tag in "${tags[@]:1}"; do
  engine_do "/images/$name:$arch-$version/tag?repo=$(engine_quote "$name")&tag=$tag"
done
echo "image $name:$version: made, tagged ${tags[*]}"
