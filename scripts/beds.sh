# shellcheck shell=bash
# beds.sh: to be sourced. The test beds of platforms (tests/testbeds/*.sh): those that were not there before are taken away again.

beds=()

# beds_note PLATFORM…: remembers which of them are not up yet; `beds_end` takes these down.
beds_note() {
  local platform
  for platform; do "tests/testbeds/$platform.sh" status >/dev/null 2>&1 || beds+=("$platform"); done
}
beds_end() {
  local platform
  for platform in "${beds[@]}"; do "tests/testbeds/$platform.sh" down; done
}

# bed_prepare PLATFORM: makes what its bed runs on. What is missing then is told by the bed, loudly.
bed_prepare() {
  [ "$1" = kubernetes ] || return 0
  if scripts/setup.sh kubernetes && tests/testbeds/kubernetes.sh build; then return; fi
  echo "!!! no test bed for Kubernetes on this machine: what needs it will be SKIPPED" >&2
}
