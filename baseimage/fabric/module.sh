# shellcheck shell=bash
# What the images and the test tools of Fabric share: one Go module, which pins Fabric's version. To be sourced from the checkout's root.

scripts/setup.sh go >&2
. scripts/toolchain.sh

# Go inside the module. GOFLAGS is emptied: -mod and the like from the outside would change what is built.
fabric_go() { (cd baseimage/fabric && GOFLAGS='' GOWORK=off CGO_ENABLED=0 go "$@"); }

# fabric_build OUT PACKAGE…: static programs, for GOOS and GOARCH; OUT is absolute, and a folder where it ends with a slash.
fabric_build() {
  local out=$1 version commit metadata=github.com/hyperledger/fabric/common/metadata
  shift
  version=$(cat baseimage/fabric/VERSION)
  commit=$(sed -n 's|^\tgithub.com/hyperledger/fabric v.*-\([0-9a-f]*\)$|\1|p' baseimage/fabric/go.mod)
  fabric_go build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w -X $metadata.Version=$version -X $metadata.CommitSHA=$commit" -o "$out" "$@"
}

# fabric_ccaas FOLDER: the peer's external builder for chaincode as a service, one program under three names.
fabric_ccaas() {
  mkdir -p "$1/bin"
  fabric_build "$1/bin/detect" ./ccaas
  ln -s detect "$1/bin/build"
  ln -s detect "$1/bin/release"
}

# fabric_config FILE FOLDER: a configuration file as Fabric comes with it.
fabric_config() {
  local module
  module=$(fabric_go list -mod=readonly -m -f '{{.Dir}}' github.com/hyperledger/fabric)
  mkdir -p "$2"
  install -m 644 "$module/sampleconfig/$1" "$2/$1"
}
