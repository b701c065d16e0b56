# shellcheck shell=bash
# toolchain.sh: finds the compilers and checks their versions. Source it in the root of the checkout.

CHAINPOOL_STATE=${CHAINPOOL_STATE:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/chainpool}

# toolchain_path: adds the usual directories of rustup and Go to PATH, for installations since the last login.
toolchain_path() {
  local cargo_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
  if [ -x "$cargo_bin/rustup" ] && ! command -v rustup >/dev/null; then PATH=$cargo_bin:$PATH; fi
  PATH=$PATH:/usr/local/go/bin
  if [ -x "$CHAINPOOL_STATE/go/bin/go" ]; then PATH=$CHAINPOOL_STATE/go/bin:$PATH; fi
  export PATH
}

# version_at_least HAVE WANT: succeeds if HAVE is WANT or later.
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

rust_wanted() { sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml; }
go_wanted() { sed -n 's/^go //p' baseimage/cometbft/go.mod; }

# rust_ready: succeeds if rustup has the wanted toolchain, or if another compiler is at least as new.
rust_ready() {
  local wanted
  wanted=$(rust_wanted)
  command -v cargo >/dev/null || return 1
  if command -v rustup >/dev/null; then rustup toolchain list 2>/dev/null | grep "^$wanted" >/dev/null; return; fi
  version_at_least "$(rustc --version 2>/dev/null | cut -d' ' -f2)" "$wanted"
}

# go_ready: succeeds if Go is new enough. Go 1.21 and later downloads a newer toolchain unless GOTOOLCHAIN
# forbids it.
go_ready() {
  local have
  command -v go >/dev/null || return 1
  have=$(go env GOVERSION 2>/dev/null | sed 's/^go//; s/ .*//')
  version_at_least "$have" "$(go_wanted)" && return
  version_at_least "$have" 1.21 && [[ "$(go env GOTOOLCHAIN)" == *auto* ]]
}

toolchain_path
