"""The hub as it is deployed, and an organisation around it: what the story needs to be told from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from threading import RLock
from typing import Any, TypeVar

from chalicelib import wiring
from chalicelib.adapters.dynamodb import DynamoLedger
from chalicelib.core.nodes import Node
from deploy import deploy
from deploy.package import package
from patchwarden.simulator.events import Event
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS
from patchwarden.simulator.served import served
from patchwarden.simulator.simulation import Simulation, simulate
from tests.e2e.emulator import certificate, client, emulator, free_port, session

ROOT = Path(__file__).parents[2]
HUB, REGION, STAGE = ACCOUNTS[0], REGIONS[0], "dev"
EXTERNAL_ID = "patchwarden-end-to-end"
NOT_SERVED = ("HubBusRules",)
"""What the emulator cannot make: it knows no bus policies at all. Everything else is deployed as packaged."""

SET = """
scope: {accounts: ["111122223333", "444455556666", "777788889999"], regions: [eu-west-1, us-east-1]}
linger: 0m
verify_within: 2h
executions_per_location: 10
defaults: {attempts: 3, cooldown: 30m, limits: {concurrency: 100%, max_errors: 100%}}
ceilings: {attempts: 5, concurrency: 100%, max_errors: 100%, max_per_hour: 500, deadline: 30d, exemption: 180d}
tests: {at_least: 0, both_outcomes: false}
"""
POLICY = """
id: at-once
title: Whatever has an environment is patched at once
owner: secops@example.com
band: standard
when: {all: [{path: $.node.tags.Environment, in: [dev, staging, prod]}]}
then: {action: remediate}
"""

Found = TypeVar("Found")


@dataclass
class Organisation:
    """The deployed hub, its emulator's address, and the simulated accounts, whose clock `lock` guards."""

    url: str
    folder: Path
    sim: Simulation
    lock: RLock
    heard: list[Event] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def client(self, service: str, account: str = HUB, region: str = REGION, **keys: str) -> Any:
        return client(self.url, service, session(account, region, **keys), certificate(self.folder))

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.outputs["LedgerTable"], lambda: self.client("dynamodb"))

    def emit(self, event: Event) -> None:
        """AWS emits an event in the account and Region that it is about."""
        entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"]),
                 "Resources": event["resources"]}  # fmt: skip
        answer = self.client("events", event["account"], event["region"]).put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0, answer

    def pass_time(self, **span: float) -> None:
        """Let simulated time pass; what happens meanwhile is emitted after it."""
        with self.lock:
            self.sim.clock.run_until(self.sim.clock.now() + timedelta(**span))
            told, self.heard[:] = self.heard[:], []
        for event in told:
            self.emit(event)

    def resource(self, logical: str) -> str:
        """The physical name of a resource of the stack."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=deploy.name(STAGE), LogicalResourceId=logical
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def lent(self, logical: str) -> dict[str, str]:
        """Keys of a function's role, as Lambda gives them to its process."""
        name = self.resource(logical)
        role = self.client("lambda").get_function_configuration(FunctionName=name)["Role"]
        return self.keys(role)

    def keys(self, role: str) -> dict[str, str]:
        """What whoever becomes the role is given."""
        keys = self.client("sts").assume_role(RoleArn=role, RoleSessionName="as-the-function")["Credentials"]
        return {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"],
                "aws_session_token": keys["SessionToken"]}  # fmt: skip


def eventually(look: Callable[[], Found | None], within: float, what: Callable[[], str]) -> Found:
    """What is looked for, as soon as it is there; fails after `within` seconds of real time."""
    for _ in range(int(within * 2)):
        found = look()
        if found:
            return found
        Flag().wait(0.5)
    raise AssertionError(f"after {within:.0f} seconds: {what()}")


@contextmanager
def organisation(folder: Path) -> Iterator[Organisation]:
    """Everything up, deployed and with a policy set in force; nothing of it outlives the block."""
    from tests.e2e import members

    port, heard = free_port(), list[Event]()
    now = wiring.clock().now().replace(microsecond=0)
    # an hour ago this month's patches came out, and the scan found them missing
    sim = simulate(heard.append, seed=5, nodes=24, start=now - timedelta(hours=1))
    sim.life.turn_noncompliant(within=timedelta(minutes=5))
    sim.clock.run_until(now)
    heard.clear()  # nobody listened yet: what was said before is lost
    asking = client(f"https://127.0.0.1:{port}", "sts", session(HUB, REGION), certificate(folder))
    with served(sim, lambda key: str(asking.get_access_key_info(AccessKeyId=key)["Account"])) as (simulated, lock):
        own = {f"AWS_ENDPOINT_URL_{name}": simulated for name in ("SSM", "EC2", "CONFIG_SERVICE")}
        with emulator(folder, port, own) as url:
            made = Organisation(url, folder, sim, lock, heard)
            strangers(made)
            made.outputs = deployed(made)
            members.join(made)
            publish(made)
            yield made


def strangers(org: Organisation) -> None:
    """In each account a role that whoever shows the external id may become, and that is none of ours."""
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"}, "Action": "sts:AssumeRole",
             "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}}  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for account in ACCOUNTS:
        org.client("iam", account).create_role(RoleName="somebody-else", AssumeRolePolicyDocument=document)


def deployed(org: Organisation) -> dict[str, str]:
    """Package, and deploy with the command's own functions; the stack's outputs."""
    folder = org.folder / "package"
    package(STAGE, folder)
    template = json.loads((folder / "sam.json").read_text())
    for logical in NOT_SERVED:
        del template["Resources"][logical]
    (folder / "sam.json").write_text(json.dumps(template))
    organization = org.client("organizations").describe_organization()["Organization"]["Id"]
    place = deploy.Place(_Through(org), HUB, REGION, pause=0.2)
    given = {"OrganizationId": organization, "ExternalId": EXTERNAL_ID}
    changes = deploy.prepare(place, STAGE, folder, given)
    assert changes is not None
    assert changes.creates
    deploy.execute(place, STAGE, changes)
    assert deploy.prepare(place, STAGE, folder, {}) is None, "the same again is no change"
    return deploy.outputs(place, STAGE)


@dataclass(frozen=True)
class _Through:
    """A boto3 session whose clients all reach the emulator."""

    org: Organisation

    def client(self, service: str) -> Any:
        return self.org.client(service)


def place(org: Organisation) -> deploy.Place:
    return deploy.Place(_Through(org), HUB, REGION, pause=0.2)


def publish(org: Organisation) -> None:
    """The security team publishes its set, with the command and with rights of its own."""
    policies = org.folder / "policies"
    policies.mkdir()
    (policies / "_set.yaml").write_text(SET)
    (policies / "at-once.yaml").write_text(POLICY)
    given = {
        **environment(org),
        "PATCHWARDEN_POLICY_BUCKET": org.outputs["PolicyBucketName"],
        "PATCHWARDEN_TABLE": org.outputs["LedgerTable"],
    }
    command = [sys.executable, "-m", "patchwarden", "policy", "publish", str(policies), "--yes", "--by", "secops",
               "--reason", "the first set"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def environment(org: Organisation) -> Mapping[str, str]:
    """For a command of a person who has all rights in the hub's account."""
    return {
        "AWS_ENDPOINT_URL": org.url,
        "AWS_CA_BUNDLE": str(certificate(org.folder)),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": HUB,
        "AWS_SECRET_ACCESS_KEY": "nobody-checks-the-root",
        "PATH": os.defpath,
        "HOME": str(org.folder),
    }


def compliance_event(node: Node) -> Event:
    arn = f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"
    detail = {"resource-type": "managed-instance", "resource-id": node.id, "compliance-type": "Patch",
              "compliance-status": "non_compliant", "severity": "critical"}  # fmt: skip
    return {"source": "aws.ssm", "detail-type": "Configuration Compliance State Change", "account": node.account,
            "region": node.region, "resources": [arn], "detail": detail}  # fmt: skip
