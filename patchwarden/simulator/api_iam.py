"""IAM: the roles of an account as they are set up, and what they may do, as its policy simulator answers.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.refusals import Refusal

_MADE = datetime(2026, 1, 1, tzinfo=UTC)


def get_role(aws: Aws, caller: Caller, request: Request) -> Reply:
    """The trust policy comes as IAM sends it: JSON, percent-encoded."""
    name = request["RoleName"]
    statement = aws.setup.trust(caller.account, name, aws.accounts[0])
    if statement is None:
        raise _unknown(name)
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    return {
        "Role": {
            "Path": "/", "RoleName": name, "RoleId": "AROASIMULATED0000001", "CreateDate": _MADE,
            "Arn": f"arn:aws:iam::{caller.account}:role/{name}",
            "AssumeRolePolicyDocument": quote(json.dumps(trust)),
        }
    }  # fmt: skip


def simulate_principal_policy(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Allowed is what the setup does not refuse in the account; nothing is said of conditions."""
    account, _, name = request["PolicySourceArn"].removeprefix("arn:aws:iam::").partition(":role/")
    if account != caller.account or aws.setup.trust(account, name, aws.accounts[0]) is None:
        raise _unknown(name)
    told = [
        {"EvalActionName": action, "EvalResourceName": resource,
         "EvalDecision": "implicitDeny" if _refused(aws, account, name, action) else "allowed"}
        for action in request["ActionNames"]
        for resource in request.get("ResourceArns", ["*"])
    ]  # fmt: skip
    return {"EvaluationResults": told, "IsTruncated": False}


def _refused(aws: Aws, account: str, role: str, action: str) -> bool:
    return bool(aws.setup.refused & {(account, action), (role, action)})


def _unknown(name: str) -> Refusal:
    return Refusal("NoSuchEntity", f"The role with name {name} cannot be found.", 404)


OPERATIONS: dict[str, Operation] = {
    "GetRole": get_role,
    "SimulatePrincipalPolicy": simulate_principal_policy,
}
