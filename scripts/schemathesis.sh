#!/usr/bin/env bash
# schemathesis.sh: sends random requests by the OpenAPI description, as operator and as admin, for up to three
# minutes.
#
# Fails on server errors, undocumented responses, and rejections of valid requests except by a rule of
# tests/schemathesis/rules.json. SEED= sets another seed, TIME= the seconds for each role.
set -euo pipefail
cd "$(dirname "$0")/.."

# A network namespace with only loopback: random addresses are unreachable.
if [ "${1:-}" != inside ]; then
  . scripts/api-server.sh
  bin=$(python_environment tests/schemathesis)
  export bin
  enter=(unshare --net)
  "${enter[@]}" true 2>/dev/null || enter=(unshare --map-root-user --net)
  "${enter[@]}" true || { echo "schemathesis.sh: cannot create a network namespace (unshare --net); run as root" >&2; exit 2; }
  exec "${enter[@]}" "$0" inside
fi
ip link set lo up
. scripts/api-server.sh
trap api_server_end EXIT
api_server
seed=${SEED:-20261130}
CHAINPOOL_RULES_USED=$api_data/rules
export CHAINPOOL_RULES_USED
touch "$CHAINPOOL_RULES_USED"
failed=0
for role in operator admin; do
  echo "schemathesis as $role, seed $seed"
  (
    # It reads configuration and hooks from the working directory and writes files there.
    cp -r tests/schemathesis "$api_data/$role"
    cd "$api_data/$role"
    export CHAINPOOL_ROLE=$role
    exec "$bin/schemathesis" --no-color run "$CHAINPOOL_SERVER/api/v1/openapi.json" --seed "$seed" --max-time "${TIME:-75}"
  ) || failed=1
done
# Check that the code of each rule is documented and that each rule was needed.
"$bin/python" tests/schemathesis/rules.py "$CHAINPOOL_RULES_USED" || failed=1
exit "$failed"
