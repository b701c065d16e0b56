# shellcheck shell=bash
# Functions of the images and test tools of Fabric, around one Go module that pins Fabric's version. Source it
# in the root of the checkout.

scripts/setup.sh go >&2
. scripts/toolchain.sh

# fabric_go ARGUMENT…: runs go in the module. Clears GOFLAGS: flags from the environment would change the
# build.
fabric_go() { (cd baseimage/fabric && GOFLAGS='' GOWORK=off CGO_ENABLED=0 go "$@"); }

# fabric_build OUT PACKAGE…: builds static programs for GOOS and GOARCH. OUT is absolute; with a trailing
# slash it is a directory.
fabric_build() {
  local out=$1 version commit metadata=github.com/hyperledger/fabric/common/metadata
  shift
  version=$(cat baseimage/fabric/VERSION)
  commit=$(sed -n 's|^\tgithub.com/hyperledger/fabric v.*-\([0-9a-f]*\)$|\1|p' baseimage/fabric/go.mod)
  fabric_go build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w -X $metadata.Version=$version -X $metadata.CommitSHA=$commit" -o "$out" "$@"
}

# fabric_ccaas DIRECTORY: builds the peer's external builder for chaincode as a service, one program with
# three names.
fabric_ccaas() {
  mkdir -p "$1/bin"
  fabric_build "$1/bin/detect" ./ccaas
  ln -s detect "$1/bin/build"
  ln -s detect "$1/bin/release"
}

# fabric_config FILE DIRECTORY: copies a sample configuration file of Fabric.
fabric_config() {
  local module
  module=$(fabric_go list -mod=readonly -m -f '{{.Dir}}' github.com/hyperledger/fabric)
  mkdir -p "$2"
  install -m 644 "$module/sampleconfig/$1" "$2/$1"
}
