"""Hooks of scripts/schemathesis.sh: callers, limits that keep requests on this machine, and rules that a schema cannot state."""

import json
import os
import re
from pathlib import Path

import requests
import schemathesis

SERVER = os.environ["CHAINPOOL_SERVER"]
ROLE = os.environ["CHAINPOOL_ROLE"]
USED = Path(os.environ["CHAINPOOL_RULES_USED"])
LOCAL_ADMIN = {"Authorization": "Bearer " + os.environ["CHAINPOOL_TOKEN"]}
# Resources that outlive their parent, with the reason.
KEPT = {"GET /api/v1/clusters/{cluster}/health": "the history of a cluster outlives it"}
RULES = json.loads((Path(__file__).parent / "rules.json").read_text())


def post(path, body):
    answer = requests.post(SERVER + path, json=body, headers=LOCAL_ADMIN, timeout=30)
    answer.raise_for_status()
    return answer.json()


def names_of(collection, name):
    """The name and the id of an item: requests may use either."""
    answer = requests.get(f"{SERVER}/api/v1/{collection}", headers=LOCAL_ADMIN, timeout=30)
    answer.raise_for_status()
    return {name} | {item["id"] for item in answer.json()["items"] if item["name"] == name}


# The account and the token that these hooks create callers with.
LOCAL_ADMIN_ACCOUNT = names_of("accounts", "admin")
LOCAL_ADMIN_TOKEN = names_of("tokens", "this machine")


class Caller:
    """An account of the role with a token. Requests may delete either one; then a new one is created."""

    def __init__(self):
        self.number = 0
        self.token = None

    def fresh(self):
        self.number += 1
        name = f"{ROLE}-caller-{self.number}"
        post("/api/v1/accounts", {"name": name, "role": ROLE})
        self.token = post("/api/v1/tokens", {"name": "schemathesis", "account": name})["secret"]

    def current(self):
        if self.token is None:
            self.fresh()
        return self.token


CALLER = Caller()


@schemathesis.auth(refresh_interval=None)
class Token:
    def get(self, case, context):
        return CALLER.current()

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    # An admin may delete the local administrator as well, and these hooks would fail with it.
    named = case.path_parameters or {}
    if named.get("token") in LOCAL_ADMIN_TOKEN:
        named["token"] = "00000000-0000-7000-8000-000000000000"
    if named.get("account") in LOCAL_ADMIN_ACCOUNT:
        named["account"] = "nobody"
    # The run has no network beyond this machine. With this engine, hosts can still be registered. Invalid addresses stay invalid.
    if case.operation.label in ("POST /api/v1/hosts", "PATCH /api/v1/hosts/{host}") and isinstance(case.body, dict):
        address = case.body.get("address")
        if isinstance(address, str) and re.fullmatch(r"(unix|tcp|https)://.+", address):
            case.body["address"] = "unix://" + os.environ["CHAINPOOL_ENGINE"]


@schemathesis.hook
def after_call(context, case, response):
    sent = response.request.headers.get("Authorization") if response.request is not None else None
    if response.status_code == 401 and sent == f"Bearer {CALLER.token}":
        CALLER.token = None


def matches(rule, label, response, problem):
    return (
        rule["route"] in (label, "any")
        and rule["status"] == response.status_code
        and rule["code"] == problem.get("code")
        and ("field" not in rule or any(re.fullmatch(rule["field"], field) for field in problem.get("fields", {})))
    )


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops a failure if a rule allows the rejection, or if the resource outlives its parent."""
    if type(failure).__name__ == "UseAfterFree":
        return case.operation.label not in KEPT
    if type(failure).__name__ not in ("RejectedPositiveData", "ServerError"):
        return True
    try:
        problem = response.json()
    except ValueError:
        return True
    for place, rule in enumerate(RULES):
        if matches(rule, case.operation.label, response, problem):
            with USED.open("a") as used:
                used.write(f"{place}\n")
            return False
    return True
