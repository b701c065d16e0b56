#!/usr/bin/env bash
# setup.sh FOR…: installs what is missing, and nothing else, for: run, image (make a base image), test, api (tests by the API's description),
# kubernetes (its test bed), rust, go.
#
# System packages come by apt on Debian and Ubuntu as root; elsewhere it lists what is missing and ends with 2.
# CHAINPOOL_INSTALL_RUST=1, CHAINPOOL_INSTALL_GO=1: agree to the official installers beforehand (a terminal is asked, nothing else is).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/toolchain.sh

packages=() reasons=() shut=

# need PACKAGES REASON CHECK…: notes the packages when the check fails.
need() {
  local wanted=$1 reason=$2
  shift 2
  if "$@" >/dev/null 2>&1; then return; fi
  # shellcheck disable=SC2206 # several packages in one word
  packages+=($wanted)
  reasons+=("$wanted: $reason")
}

has_program() { local program; for program in "$@"; do command -v "$program" || return 1; done; }
has_compiler() { echo '#include <stdlib.h>' | cc -E - ; }
has_certificates() { [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -s /etc/pki/tls/certs/ca-bundle.crt ] || [ "$(uname)" = Darwin ]; }
# An engine that is installed but does not run is started by engine.sh; a remote one is its owner's.
has_engine() { [ -n "${DOCKER_HOST:-}" ] || has_program dockerd iptables || engine_answers; }
has_mmdebstrap() { has_program mmdebstrap && [ -s /usr/share/keyrings/debian-archive-keyring.gpg ]; }
has_browser() { has_program chromium chromedriver || [ -n "${CHAINPOOL_CHROMIUM:-}" ]; }
has_venv() { python3 -c 'import ensurepip, venv'; }
has_busybox() { [ -x /bin/busybox ] || [ -x /usr/bin/busybox ]; }

needs_of() {
  case $1 in
    run)
      need curl "speaks to the engine" has_program curl
      need ca-certificates "trusts package servers" has_certificates
      need "gcc libc6-dev" "compiles SQLite and the cryptography" has_compiler
      shut=$(engine_shut) || need "docker.io iptables" "the Docker engine" has_engine ;;
    image) need "mmdebstrap debian-archive-keyring" "makes the Debian root of the base image" has_mmdebstrap ;;
    test)
      needs_of run
      need "chromium chromium-driver" "browser tests" has_browser
      need iproute2 "engines of their own for tests that break one" has_program ip
      need busybox-static "a small program to put into test images" has_busybox ;;
    api)
      need "python3 python3-venv" "schemathesis and a generated client" has_venv
      need iproute2 "a network of its own for random requests" has_program ip
      need default-jre-headless "the other generator of clients" has_program java
      need maven "fetches it" has_program mvn ;;
    kubernetes)
      need "docker.io iptables" "containerd and runc" has_program containerd runc ctr iptables
      need iproute2 "the machine's addresses" has_program ip
      need openssl "certificates of a test cluster" has_program openssl
      need containernetworking-plugins "networks of pods" test -x /usr/lib/cni/bridge
      need "gcc libc6-dev" "the program that holds a pod" has_compiler ;;
    rust | go) ;;
    *) echo "setup.sh: run, image, test, api, kubernetes, rust or go; not $1" >&2; exit 2 ;;
  esac
}

# An engine that is there and closed to this user is not missing, and nothing to install opens it.
say_shut() {
  [ -z "$shut" ] || engine_shut_words "$shut" >&2
}

install_packages() {
  [ "${#packages[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    {
      echo "These are missing (names as in Debian and Ubuntu):"
      printf '  %s\n' "${reasons[@]}"
      if command -v apt-get >/dev/null; then echo "Install them and start again:  sudo apt-get install --no-install-recommends ${packages[*]}"
      else echo "Install them with this system's package manager and start again."; fi
    } >&2
    say_shut
    exit 2
  fi
  echo "setup: installing ${packages[*]}"
  local apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -q)
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update </dev/null
  "${apt[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null
}

# agreed VARIABLE QUESTION: by the variable, else by asking where a person sits.
agreed() {
  local answer
  [ "${!1:-}" != 1 ] || return 0
  [ -z "${CI:-}" ] && [ -t 0 ] && [ -t 2 ] || return 1
  read -r -p "$2 [y/N] " answer
  [[ "$answer" == [yY]* ]]
}

setup_rust() {
  local wanted installer="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs"
  wanted=$(rust_wanted)
  if rust_ready; then return; fi
  if ! command -v rustup >/dev/null; then
    if ! agreed CHAINPOOL_INSTALL_RUST "Rust $wanted is missing. Install it with the official installer (rustup) for this user?"; then
      {
        echo "Rust $wanted or later is missing. Either start again with CHAINPOOL_INSTALL_RUST=1, or install it:"
        echo "  $installer | sh -s -- -y --profile minimal --default-toolchain $wanted -c rustfmt -c clippy"
      } >&2
      exit 2
    fi
    local script
    script=$(curl --proto '=https' --tlsv1.2 --connect-timeout 10 --max-time 120 -sSf https://sh.rustup.rs) || {
      echo "the rustup installer could not be fetched; install Rust $wanted by hand" >&2
      exit 1
    }
    sh -s -- -y --profile minimal --default-toolchain none --no-modify-path <<<"$script"
    toolchain_path
  fi
  rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy </dev/null
}

setup_go() {
  local wanted arch archive
  wanted=$(go_wanted)
  if go_ready; then return; fi
  arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
  archive=https://go.dev/dl/go$wanted.$(uname -s | tr '[:upper:]' '[:lower:]')-$arch.tar.gz
  if ! agreed CHAINPOOL_INSTALL_GO "Go $wanted is missing. Unpack the official archive into $CHAINPOOL_STATE/go?"; then
    {
      echo "A node image or a test tool must be made here, which needs Go $wanted or later. Either start again with CHAINPOOL_INSTALL_GO=1, or install it:"
      echo "  curl -fL $archive | tar -C /usr/local -xz"
    } >&2
    exit 2
  fi
  mkdir -p "$CHAINPOOL_STATE"
  local unpacked
  unpacked=$(mktemp -d "$CHAINPOOL_STATE/go.XXXXXX")
  if ! curl --proto '=https' --connect-timeout 10 --max-time 600 -fsSL "$archive" | tar -C "$unpacked" -xz; then
    rm -rf "$unpacked"
    echo "the Go archive could not be fetched; install Go $wanted by hand" >&2
    exit 1
  fi
  rm -rf "$CHAINPOOL_STATE/go"
  mv "$unpacked/go" "$CHAINPOOL_STATE/go"
  rmdir "$unpacked"
}

for purpose in "${@:-run}"; do needs_of "$purpose"; done
install_packages
say_shut
[ -z "$shut" ] || exit 2
for purpose in "${@:-run}"; do
  case $purpose in run | rust) setup_rust ;; test) setup_rust; setup_go ;; go) setup_go ;; esac
done
