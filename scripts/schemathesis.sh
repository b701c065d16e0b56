#!/usr/bin/env bash
# schemathesis.sh: random requests by the API's description, as an operator and as an admin, for three minutes at most.
#
# Nothing may end in a server error or in an answer that is not described, and no request that fits the description may be refused but by a
# rule of tests/schemathesis/rules.json. SEED=: another seed than the usual one. TIME=: seconds for each role.
set -euo pipefail
cd "$(dirname "$0")/.."

# A network of its own with loopback alone: a random address leads nowhere.
if [ "${1:-}" != inside ]; then
  . scripts/api-server.sh
  bin=$(python_environment tests/schemathesis)
  export bin
  enter=(unshare --net)
  "${enter[@]}" true 2>/dev/null || enter=(unshare --map-root-user --net)
  "${enter[@]}" true || { echo "schemathesis.sh: this machine allows no network of its own (unshare --net)" >&2; exit 2; }
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
    # Its configuration and hooks are found in the working folder, where it leaves files of its own.
    cp -r tests/schemathesis "$api_data/$role"
    cd "$api_data/$role"
    export CHAINPOOL_ROLE=$role
    exec "$bin/schemathesis" --no-color run "$CHAINPOOL_SERVER/api/v1/openapi.json" --seed "$seed" --max-time "${TIME:-75}"
  ) || failed=1
done
# Each rule's code is documented, and each rule was needed.
"$bin/python" tests/schemathesis/rules.py "$CHAINPOOL_RULES_USED" || failed=1
exit "$failed"
