"""A client that openapi-generator generated, used as a program would use it. Prints what passed; the first difference ends it."""

import json
import os
import uuid

import chainpool_by_generator as client
from chainpool_by_generator.rest import ApiException

SERVER, TOKEN = os.environ["CHAINPOOL_SERVER"], os.environ["CHAINPOOL_TOKEN"]
PASSWORD = uuid.uuid4().hex


def api(token=None):
    return client.ApiClient(client.Configuration(host=SERVER, access_token=token))


def done(what):
    print(f"openapi-generator: {what}")


def refusal(call, *arguments, **named):
    """The status and the problem of a call that is refused."""
    try:
        taken = call(*arguments, **named)
    except ApiException as error:
        return error.status, client.Problem.from_dict(json.loads(error.body))
    raise AssertionError(f"it was taken: {taken}")


admin, anybody = client.AccountsApi(api(TOKEN)), client.AccountsApi(api())

for role in client.Role:
    account = admin.account_create(client.AccountCreate(name=f"generator-{role.value}", role=role))
    assert account.role is role, account
done("made an account of each role")

link = admin.account_reset_link("generator-operator").link
anybody.password_set(client.PasswordSet(link=link, password=PASSWORD))
session = anybody.session_create(client.SignIn(account="generator-operator", password=PASSWORD))
operator = api(session.token)
assert client.AccountsApi(operator).session_show().role is client.Role.OPERATOR
made = client.AccountsApi(operator).token_create(client.TokenCreate(name="generated client"))
assert client.AccountsApi(api(made.secret)).session_show().account == "generator-operator"
done("signed in, made a token, and used it")

status, problem = refusal(anybody.session_create, client.SignIn(account="generator-operator", password="wrong"))
assert (status, problem.code) == (401, "wrong_password"), problem
done("was told of a wrong password")

hosts = client.HostsApi(operator).host_list().items
assert [(host.name, host.state, host.type) for host in hosts] == [("local", client.HostState.ACTIVE, client.Platform.DOCKER)], hosts
assert len(hosts[0].ports) == 2, hosts
done("listed the hosts")

clusters = client.ClustersApi(operator)
operation = clusters.cluster_create(cluster_create=client.ClusterCreate(name="generator", host="local", type="cometbft"))
assert operation.kind is client.OperationKind.CLUSTER_CREATE, operation
listed = clusters.cluster_list(limit=500).items
assert any(cluster.name == "generator" and isinstance(cluster.state, client.ClusterState) for cluster in listed), listed
done("asked for a cluster, and listed the clusters")

status, problem = refusal(client.LeasesApi(operator).lease_apply, apply=client.Apply(type="cometbft"), idempotency_key=uuid.uuid4().hex)
assert (status, problem.code) == (409, "nothing_free"), problem
done("applied, and was told that nothing is free")

whole = client.StatusApi(operator)
status = whole.status_show()
assert status.pool.clusters >= 1 and [host.name for host in status.hosts] == ["local"], status
assert {network.name for network in whole.network_type_list().items} >= {"cometbft", "fabric"}
done("read the status and the network types")
