# shellcheck shell=bash
# beds.sh: manages the test beds of platforms (tests/testbeds/*.sh) and stops those that were not running
# before. Source it.

beds=()

# beds_note PLATFORM…: records the beds that are not running yet; beds_end stops these.
beds_note() {
  local platform
  for platform; do "tests/testbeds/$platform.sh" status >/dev/null 2>&1 || beds+=("$platform"); done
}
beds_end() {
  local platform
  for platform in "${beds[@]}"; do "tests/testbeds/$platform.sh" down; done
}

# bed_prepare PLATFORM: installs and builds the programs of its bed. The bed reports anything still missing.
bed_prepare() {
  [ "$1" = kubernetes ] || return 0
  if scripts/setup.sh kubernetes && tests/testbeds/kubernetes.sh build; then return; fi
  echo "!!! no Kubernetes test bed on this machine: tests that need it are SKIPPED" >&2
}
