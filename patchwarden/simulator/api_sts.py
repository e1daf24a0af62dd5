"""STS: roles in the accounts of the organisation, as the Security Token Service lends them.

The access key id says whose it is, so that every later request shows which account asks.
https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.refusals import Refusal

SECRET = "simulated-and-worth-nothing"

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/([\w+=,.@/-]+)")
_KEY = re.compile(r"A[KS]IA(\d{12})SIMU")
_TOKEN = re.compile(r"simulated/(\d+)/([\w+=,.@-]+)/([\w+=,.@-]+)")


def assume_role(aws: Aws, caller: Caller, request: Request) -> Reply:
    role = _ROLE.fullmatch(request["RoleArn"])
    account = role[1] if role else ""
    stranger = aws.setup.external_id is not None and request.get("ExternalId") != aws.setup.external_id
    if role is None or account not in aws.accounts or (account, "sts") in aws.denied or stranger:
        why = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {request['RoleArn']}"
        raise Refusal("AccessDenied", why, 403)
    name, session = role[2].rsplit("/", 1)[-1], request["RoleSessionName"]
    expires_at = aws.clock.now() + timedelta(seconds=request.get("DurationSeconds", 3600))
    return {
        "Credentials": {
            "AccessKeyId": access_key(account, lent=True),
            "SecretAccessKey": SECRET,
            "SessionToken": f"simulated/{int(expires_at.timestamp())}/{name}/{session}",
            "Expiration": expires_at.replace(microsecond=0),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": f"AROA{account}SIMU:{session}",
            "Arn": _session_arn(account, name, session),
        },
    }


def get_caller_identity(aws: Aws, caller: Caller, request: Request) -> Reply:
    return {"UserId": f"AROA{caller.account}SIMU", "Account": caller.account, "Arn": caller.arn}


OPERATIONS: dict[str, Operation] = {
    "AssumeRole": assume_role,
    "GetCallerIdentity": get_caller_identity,
}


def access_key(account: str, *, lent: bool = False) -> str:
    """The access key id of an account: its own, or one that belongs to an assumed role."""
    return f"{'ASIA' if lent else 'AKIA'}{account}SIMU"


def account_of(key: str) -> str | None:
    """The account that an access key id names, or None if it is no key of the simulator's."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def session_of(account: str, token: str) -> tuple[str, float]:
    """The ARN of an assumed role's session and when it ends, in seconds since the epoch; Refusal for a false token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return _session_arn(account, match[2], match[3]), float(match[1])


def expired(now: datetime, ends: float) -> bool:
    return now.timestamp() >= ends


def _session_arn(account: str, role: str, session: str) -> str:
    return f"arn:aws:sts::{account}:assumed-role/{role}/{session}"
