# shellcheck shell=bash
# part.sh: runs the parts of a test script; prints minutes of each part and counts of all tests at the end.
# Source it.

part_times=()
part_log=$(mktemp)
part_failures=0

# part_report: prints the minutes of each part, then counts by the summary lines of cargo test and the
# conformance kit.
part_report() {
  local line
  echo "minutes per part:"
  for line in "${part_times[@]}"; do echo "  $line"; done
  sed 's/\x1b\[[0-9;]*m//g' "$part_log" | awk -v parts="$part_failures" '
    / ?test result: / || / promises passed, / {
      for (i = 2; i <= NF; i++) {
        word = $i; sub(/[;,.]$/, "", word)
        if (word == "passed") { n = $(i - 1) == "promises" ? $(i - 2) : $(i - 1); passed += n }
        if (word == "failed") failed += $(i - 1)
        if (word == "ignored" || word == "SKIPPED" && $0 ~ / promises passed, /) skipped += $(i - 1)
      }
    }
    /!!! (not run|SKIPPED)/ { skipped++ }
    END { if (failed == 0 && parts > 0) failed = parts; printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
  rm -f "$part_log"
}

# part NAME COMMAND…: runs a part. A failure ends the script, or is only counted with KEEP_GOING=1.
part() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" 2>&1 | tee -a "$part_log" || status=$?
  part_times+=("$(awk -v s=$((SECONDS - start)) -v n="$name" 'BEGIN { printf "%5.1f  %s", s / 60, n }')")
  [ "$status" != 0 ] || return 0
  part_times+=("       failed: $name")
  part_failures=$((part_failures + 1))
  [ "${KEEP_GOING:-}" = 1 ] || exit "$status"
  return "$status"
}
