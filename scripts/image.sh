#!/usr/bin/env bash
# image.sh NAME: builds the image of baseimage/NAME on the engine, unless it exists with the same inputs.
# Pulls nothing.
#
# baseimage/NAME/image.conf defines name and inputs, baseimage/NAME/build.sh builds the root file system in a
# directory. With a Dockerfile the engine builds from that directory; without one it imports it as one layer,
# which keeps the owners of files. FORCE=1 rebuilds in any case.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
. scripts/engine-api.sh

definition=${1:?image.sh NAME}
[ -f "baseimage/$definition/image.conf" ] || { echo "no baseimage/$definition/image.conf; use a directory name in baseimage/" >&2; exit 2; }
prepare() { :; }     # image.conf may redefine it to build inputs
name='' official='' version='' licenses='' source='' inputs=() owners=() changes=()
# shellcheck source=/dev/null
. "baseimage/$definition/image.conf"

# inputs_hash TEXT: a hash over names and bytes of the inputs. Increment the number when packing changes.
inputs_hash() {
  {
    echo "1 $1"
    find "${inputs[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sed "s|${CARGO_TARGET_DIR:-target}/||"
  } | sha256sum | cut -c1-32
}

# pack ROOT OUT: writes the directory as a tar owned by root, except for the paths in `owners` (PATH=UID).
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

# import_root TAR: imports the tar on the engine as one layer, with the settings of `changes`.
import_root() {
  local tar=$1 change query label_line
  query="fromSrc=-&repo=$(engine_quote "$name")&tag=$(engine_quote "$arch-$version")"
  for change in "${changes[@]}"; do query+="&changes=$(engine_quote "$change")"; done
  while read -r label_line; do query+="&changes=$(engine_quote "LABEL ${label_line%%=*}=\"${label_line#*=}\"")"; done < <(labels)
  engine_do "/images/create?$query" -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$tar"
}

# build_dockerfile TAR: builds the Dockerfile in the tar on the engine.
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
# Keep previous node images: clusters are repaired with the image they were created from. Delete other
# previous images if unused.
if [ -z "$official" ] && [ -n "$previous" ] && [ "$previous" != "$(engine_image_id "$name:$arch-$version")" ]; then
  engine_curl "/images/$previous" -X DELETE >/dev/null 2>&1 || echo "image $name:$version: keeping the previous image $previous, which is in use"
fi
echo "image $name:$version: built, tagged ${tags[*]}"
