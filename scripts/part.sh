# part.sh, to be sourced: runs the parts of a long script, and says in the end how many minutes each took.
times=()
report() {
  local line
  echo "minutes a part:"
  for line in "${times[@]}"; do echo "  $line"; done
}

# part NAME COMMAND…: a part that fails ends the script.
part() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" || status=$?
  times+=("$(awk -v s=$((SECONDS - start)) -v n="$name" 'BEGIN { printf "%5.1f  %s", s / 60, n }')")
  [ "$status" = 0 ] || { times+=("       failed: $name"); exit "$status"; }
}
