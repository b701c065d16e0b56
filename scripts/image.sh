#!/usr/bin/env bash
# image.sh NAME: makes the image of baseimage/NAME on the engine, unless the engine has it from the same inputs. Pulls nothing.
#
# baseimage/NAME/image.conf says what it is called and made from, baseimage/NAME/build.sh fills a folder with its files. With a Dockerfile
# the engine builds from that folder; without one it imports the folder as one layer, which keeps the owners of files.
# FORCE=1 makes it again in any case.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

definition=${1:?image.sh NAME}
[ -f "baseimage/$definition/image.conf" ] || { echo "no baseimage/$definition/image.conf" >&2; exit 2; }
prepare() { :; }     # what image.conf may redefine: makes inputs that are themselves built
name='' official='' version='' licenses='' source='' inputs=() owners=() changes=()
# shellcheck source=/dev/null
. "baseimage/$definition/image.conf"

# One hash over the inputs' names and bytes. The number counts up when this script packs differently.
inputs_hash() {
  {
    echo "1 $1"
    find "${inputs[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sed "s|${CARGO_TARGET_DIR:-target}/||"
  } | sha256sum | cut -c1-32
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

labels() {
  echo "$label"
  echo "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  echo "org.opencontainers.image.version=$version"
  echo "org.opencontainers.image.licenses=$licenses"
  [ -z "$source" ] || echo "org.opencontainers.image.source=$source"
}

# Has the engine import the tar as one layer, with the settings of `changes`.
import_root() {
  local tar=$1 change query label_line
  query="fromSrc=-&repo=$(engine_quote "$name")&tag=$(engine_quote "$arch-$version")"
  for change in "${changes[@]}"; do query+="&changes=$(engine_quote "$change")"; done
  while read -r label_line; do query+="&changes=$(engine_quote "LABEL ${label_line%%=*}=\"${label_line#*=}\"")"; done < <(labels)
  engine_do "/images/create?$query" -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$tar"
}

# Has the engine build the Dockerfile that the tar contains.
build_dockerfile() {
  local tar=$1 label_line json=''
  while read -r label_line; do json+=",\"${label_line%%=*}\":\"${label_line#*=}\""; done < <(labels)
  engine_do "/build?rm=1&forcerm=1&q=1&t=$(engine_quote "$name:$arch-$version")&labels=$(engine_quote "{${json#,}}")" \
    -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$tar"
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
previous=$(engine_image_id "$name:$arch-$version")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
"baseimage/$definition/build.sh" "$work/root" "$arch"
if [ -f "baseimage/$definition/Dockerfile" ]; then
  cp "baseimage/$definition/Dockerfile" "$work/root/"
  pack "$work/root" "$work/root.tar"
  build_dockerfile "$work/root.tar"
else
  mkdir -p "$work/root/tmp"
  chmod 1777 "$work/root/tmp"
  pack "$work/root" "$work/root.tar"
  import_root "$work/root.tar"
fi
for tag in "${tags[@]:1}"; do
  engine_do "/images/$name:$arch-$version/tag?repo=$(engine_quote "$name")&tag=$tag"
done
# Networks are repaired from the very image that they were made from, so what was a node image stays; of others nothing unused is left.
if [ -z "$official" ] && [ -n "$previous" ] && [ "$previous" != "$(engine_image_id "$name:$arch-$version")" ]; then
  engine_curl "/images/$previous" -X DELETE >/dev/null 2>&1 || echo "image $name:$version: its forerunner $previous is in use and stays"
fi
echo "image $name:$version: made, tagged ${tags[*]}"
