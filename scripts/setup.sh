#!/usr/bin/env bash
# setup.sh PURPOSE…: installs missing dependencies for a purpose: run, image (base image), test, api (tests of
# the OpenAPI description), kubernetes (its test bed), lint, rust, go.
#
# System packages are installed with apt on Debian and Ubuntu as root; otherwise missing ones are listed and
# the exit status is 2. CHAINPOOL_INSTALL_RUST=1 and CHAINPOOL_INSTALL_GO=1 accept the official installers;
# without them the script asks on a terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engine-api.sh
. scripts/toolchain.sh

packages=() reasons=() shut=

# need PACKAGES REASON CHECK…: records the packages if the check fails.
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
# engine.sh starts an installed engine; a remote engine is managed by its owner.
has_engine() { [ -n "${DOCKER_HOST:-}" ] || has_program dockerd iptables || engine_answers; }
has_mmdebstrap() { has_program mmdebstrap && [ -s /usr/share/keyrings/debian-archive-keyring.gpg ]; }
has_browser() { has_program chromium chromedriver || [ -n "${CHAINPOOL_CHROMIUM:-}" ]; }
has_venv() { python3 -c 'import ensurepip, venv'; }
has_busybox() { [ -x /bin/busybox ] || [ -x /usr/bin/busybox ]; }

needs_of() {
  case $1 in
    run)
      need curl "calls the engine's API" has_program curl
      need ca-certificates "verifies package servers" has_certificates
      need "gcc libc6-dev" "compiles SQLite and the cryptography" has_compiler
      shut=$(engine_shut) || need "docker.io iptables" "the Docker engine" has_engine ;;
    image) need "mmdebstrap debian-archive-keyring" "builds the Debian root of the base image" has_mmdebstrap ;;
    test)
      needs_of run
      need "chromium chromium-driver" "browser tests" has_browser
      need iproute2 "separate engines for tests that break one" has_program ip
      need busybox-static "the content of test images" has_busybox ;;
    api)
      need "python3 python3-venv" "schemathesis and a generated client" has_venv
      need iproute2 "a network namespace for random requests" has_program ip
      need default-jre-headless "openapi-generator" has_program java
      need maven "downloads openapi-generator" has_program mvn ;;
    kubernetes)
      need "docker.io iptables" "containerd and runc" has_program containerd runc ctr iptables
      need iproute2 "the machine's addresses" has_program ip
      need openssl "certificates of the test cluster" has_program openssl
      need containernetworking-plugins "pod networks" test -x /usr/lib/cni/bridge
      need "gcc libc6-dev" "compiles the pause program of pods" has_compiler ;;
    lint)
      need "gcc libc6-dev" "compiles cargo-deny" has_compiler ;;
    rust | go) ;;
    *) echo "setup.sh: use run, image, test, api, kubernetes, lint, rust or go; not $1" >&2; exit 2 ;;
  esac
}

# An engine that this user may not access is not missing; no package can fix that.
say_shut() {
  [ -z "$shut" ] || engine_shut_message "$shut" >&2
}

install_packages() {
  [ "${#packages[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    {
      echo "Missing packages (Debian and Ubuntu names):"
      printf '  %s\n' "${reasons[@]}"
      if command -v apt-get >/dev/null; then echo "Install them and run again:  sudo apt-get install --no-install-recommends ${packages[*]}"
      else echo "Install them with this system's package manager and run again."; fi
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

# agreed VARIABLE QUESTION: succeeds if the variable is 1, or if the user agrees on a terminal.
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
        echo "Rust $wanted or later is missing. Run again with CHAINPOOL_INSTALL_RUST=1, or install it:"
        echo "  $installer | sh -s -- -y --profile minimal --default-toolchain $wanted -c rustfmt -c clippy"
      } >&2
      exit 2
    fi
    local script
    script=$(curl --proto '=https' --tlsv1.2 --connect-timeout 10 --max-time 120 -sSf https://sh.rustup.rs) || {
      echo "cannot download the rustup installer; install Rust $wanted manually" >&2
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
      echo "Building node images and test tools needs Go $wanted or later. Run again with CHAINPOOL_INSTALL_GO=1, or install it:"
      echo "  curl -fL $archive | tar -C /usr/local -xz"
    } >&2
    exit 2
  fi
  mkdir -p "$CHAINPOOL_STATE"
  local unpacked
  unpacked=$(mktemp -d "$CHAINPOOL_STATE/go.XXXXXX")
  if ! curl --proto '=https' --connect-timeout 10 --max-time 600 -fsSL "$archive" | tar -C "$unpacked" -xz; then
    rm -rf "$unpacked"
    echo "cannot download the Go archive; install Go $wanted manually" >&2
    exit 1
  fi
  rm -rf "$CHAINPOOL_STATE/go"
  mv "$unpacked/go" "$CHAINPOOL_STATE/go"
  rmdir "$unpacked"
}

# Cargo finds its programs in its own directory even if that is not in PATH.
setup_deny() {
  if cargo deny --version >/dev/null 2>&1; then return; fi
  echo "setup: compiling cargo-deny, several minutes"
  cargo install --locked --quiet cargo-deny </dev/null
}

for purpose in "${@:-run}"; do needs_of "$purpose"; done
install_packages
say_shut
[ -z "$shut" ] || exit 2
for purpose in "${@:-run}"; do
  case $purpose in run | rust) setup_rust ;; test) setup_rust; setup_go ;; lint) setup_rust; setup_deny ;; go) setup_go ;; esac
done
