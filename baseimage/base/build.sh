#!/usr/bin/env bash
# build.sh ROOT ARCH: builds the root file system of the image in the directory ROOT. Called by
# scripts/image.sh.
#
# Debian's C library, certificates and time zones, without a shell and a package manager. Packages are only
# unpacked: no install script runs. This script creates the certificate bundle and the list of users instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$1 arch=$2
tools=${CARGO_TARGET_DIR:-target}/image-tools

# The release binary needs a C library as new as that of this machine: Debian 12 has 2.36, Debian 13 has 2.41.
suite=${DEBIAN_SUITE:-}
if [ -z "$suite" ]; then
  glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
  if [ "$(printf '%s\n2.36\n' "$glibc" | sort -V | tail -n 1)" = 2.36 ]; then suite=bookworm; else suite=trixie; fi
fi

mmdebstrap --quiet --variant=extract --architectures="$arch" --include=base-files,ca-certificates,libc6,libgcc-s1,tzdata \
  "$suite" "$root/debian" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} </dev/null
cp -a "$root/debian/." "$root/"
rm -rf "$root/debian"

cd "$root"
# Only install scripts need openssl, debconf and mawk; the product has its own TLS.
rm -rf dev proc sys run home/* etc/hostname etc/resolv.conf etc/apt etc/dpkg etc/debconf.conf etc/update-motd.d usr/bin/* usr/sbin/* usr/lib/ssl \
  usr/lib/*-linux-gnu/lib{ssl,crypto}.so.3 usr/lib/*-linux-gnu/{engines-3,ossl-modules} \
  usr/share/{base-files,bash-completion,debconf,dict,info,lintian,man,misc,perl5,pixmaps}
mkdir -p dev proc sys run etc/ssl/certs usr/local/bin var/lib/chainpool
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/root:/usr/sbin/nologin\nchainpool:x:1000:1000:Chainpool:/var/lib/chainpool:/usr/sbin/nologin\n' >etc/passwd
printf 'root:x:0:\nchainpool:x:1000:\n' >etc/group
printf 'hosts: files dns\n' >etc/nsswitch.conf
chmod 700 var/lib/chainpool
cd - >/dev/null
install -m 755 "$tools/chainpool-init" "$tools/chainpool-probe" "$root/usr/bin/"
