"""A client that openapi-python-client generated, used as a program would use it. Prints what passed; the first difference ends it."""

import os
import uuid

from chainpool_by_python import AuthenticatedClient, Client
from chainpool_by_python.api.accounts import account_create, account_reset_link, password_set, session_create, session_show, token_create
from chainpool_by_python.api.clusters import cluster_create, cluster_list
from chainpool_by_python.api.hosts import host_list
from chainpool_by_python.api.leases import lease_apply
from chainpool_by_python.api.status import network_type_list, status_show
from chainpool_by_python.models import (
    AccountCreate, Apply, ClusterCreate, ClusterState, HostState, OperationKind, PasswordSet, Platform, Problem, Role, SignIn, TokenCreate,
)

SERVER, TOKEN = os.environ["CHAINPOOL_SERVER"], os.environ["CHAINPOOL_TOKEN"]
PASSWORD = uuid.uuid4().hex


def signed_in(token):
    return AuthenticatedClient(base_url=SERVER, token=token)


def done(what):
    print(f"openapi-python-client: {what}")


admin, anybody = signed_in(TOKEN), Client(base_url=SERVER)

for role in Role:
    account = account_create.sync(client=admin, body=AccountCreate(name=f"python-{role.value}", role=role))
    assert account.role is role, account
done("made an account of each role")

link = account_reset_link.sync("python-operator", client=admin).link
password_set.sync(client=anybody, body=PasswordSet(link=link, password=PASSWORD))
session = session_create.sync(client=anybody, body=SignIn(account="python-operator", password=PASSWORD))
operator = signed_in(session.token)
assert session_show.sync(client=operator).role is Role.OPERATOR
made = token_create.sync(client=operator, body=TokenCreate(name="generated client"))
assert session_show.sync(client=signed_in(made.secret)).account == "python-operator"
done("signed in, made a token, and used it")

refused = session_create.sync(client=anybody, body=SignIn(account="python-operator", password="wrong"))
assert isinstance(refused, Problem) and refused.code == "wrong_password", refused
done("was told of a wrong password")

hosts = host_list.sync(client=operator).items
assert [(host.name, host.state, host.type_) for host in hosts] == [("local", HostState.ACTIVE, Platform.DOCKER)], hosts
assert len(hosts[0].ports) == 2, hosts
done("listed the hosts")

operation = cluster_create.sync(client=operator, body=ClusterCreate(name="python", host="local", type_="cometbft"))
assert operation.kind is OperationKind.CLUSTER_CREATE, operation
clusters = cluster_list.sync(client=operator, limit=500).items
assert any(cluster.name == "python" and isinstance(cluster.state, ClusterState) for cluster in clusters), clusters
done("asked for a cluster, and listed the clusters")

refused = lease_apply.sync(client=operator, body=Apply(type_="cometbft"), idempotency_key=uuid.uuid4().hex)
assert isinstance(refused, Problem) and refused.code == "nothing_free", refused
done("applied, and was told that nothing is free")

status = status_show.sync(client=operator)
assert status.pool.clusters >= 1 and [host.name for host in status.hosts] == ["local"], status
assert {network.name for network in network_type_list.sync(client=operator).items} >= {"cometbft", "fabric"}
done("read the status and the network types")
