"""Plans and batches: what an execution does, and which remediations share one."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Remediation

PATCH_NODES = "Patchwarden-PatchNodes"
PATCH_STOPPED_NODE = "Patchwarden-PatchStoppedNode"
MOST_NODES = 50
"""An Automation parameter holds 50 values, and `aws:runCommand` takes 50 nodes."""

_NAMESPACE = uuid.UUID("6f1c6f0e-3c53-5d0a-9d7e-0d6a5a4c7b11")
"""Frozen for ever: a token that changed with an upgrade would start work in flight a second time."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

REBOOT_OPTIONS = {"if-needed": "RebootIfNeeded", "never": "NoReboot"}

INSTALLS = (
    "InstallPatches",
    "InstallPatchesToBucket",
    "InstallPatchesWithHooks",
    "InstallPatchesWithHooksToBucket",
)
"""The steps of our runbooks that install; an execution takes one of them."""

HOOKS = {"pre_install": "PreInstallHook", "post_install": "PostInstallHook", "on_exit": "OnExitHook"}
"""A hook in the policy language, and the parameter of our runbooks that names its document."""


OVERRIDE = "InstallOverrideList"
"""The parameter of our runbook that takes an override list; AWS-RunPatchBaselineWithHooks has none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a node. `concurrency` and `max_errors` are SSM's text, such as `10` or `10%`.

    `document` None is our own runbook: which of the two is known only when the node is read again. `hooks` are names
    of documents by the moment at which they run; `output` says where commands write (bucket, prefix, log_group);
    `patches` is the override list of an emergency, as `PatchList` tells it.
    """

    document: str | None = None
    version: str | None = None
    reboot: str = "if-needed"
    concurrency: str = "10%"
    max_errors: str = "10%"
    stopped: str = "wait"
    snapshot: bool = False
    parameters: Mapping[str, list[str]] = field(default_factory=dict, hash=False)
    hooks: Mapping[str, str] = field(default_factory=dict, hash=False)
    output: Mapping[str, str] = field(default_factory=dict, hash=False)
    patches: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        value = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(each) if isinstance(each, Mapping) else each for name, each in value.items()}

    @classmethod
    def knows(cls, stored: Mapping[str, Any]) -> bool:
        """Whether a stored plan is one of this release; one of another is decided again, never guessed at."""
        return stored.keys() == _KNOWN


_KNOWN = frozenset(Plan.__slots__)


@dataclass(frozen=True, slots=True)
class Member:
    """A remediation in a batch; `number` is the line that brought it in."""

    remediation: str
    node: str
    number: int
    policy: str

    def to_json(self) -> dict[str, Any]:
        return {"remediation": self.remediation, "node": self.node, "number": self.number, "policy": self.policy}


class BatchState(StrEnum):
    INTENDED = "intended"
    STARTED = "started"
    FINISHED = "finished"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Batch:
    """The remediations that one execution serves, with the parameters frozen before it starts."""

    id: str
    location: Location
    document: str
    version: str | None
    parameters: Mapping[str, list[str]] = field(hash=False)
    members: tuple[Member, ...]
    created_at: datetime
    state: BatchState = BatchState.INTENDED
    execution: str | None = None
    started_at: datetime | None = None

    @property
    def token(self) -> str:
        """The ClientToken of the start: the same for every try of this batch, a UUID of 36 characters."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.id}/start"))

    @property
    def snapshot(self) -> str:
        """The SnapshotId that the patch states of this batch carry."""
        return snapshot_id(self.id)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "location": str(self.location),
            "document": self.document,
            "version": self.version,
            "parameters": dict(self.parameters),
            "members": [member.to_json() for member in self.members],
            "created_at": format_moment(self.created_at),
            "state": self.state.value,
            "execution": self.execution,
            "started_at": format_moment(self.started_at) if self.started_at else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Batch:
        account, region = value["location"].split("/")
        return cls(
            id=value["id"],
            location=Location(account, region),
            document=value["document"],
            version=value["version"],
            parameters=value["parameters"],
            members=tuple(Member(**member) for member in value["members"]),
            created_at=parse_moment(value["created_at"]),
            state=BatchState(value["state"]),
            execution=value["execution"],
            started_at=parse_moment(value["started_at"]) if value["started_at"] else None,
        )


def batch_id(location: Location, plan: Plan, cases: Sequence[Remediation]) -> str:
    """The same remediations at the same lines give the same batch: no randomness, and a retry is another batch."""
    seed = canonical([str(location), plan.to_json(), [[case.id, case.number] for case in cases]])
    return str(uuid.uuid5(_NAMESPACE, seed))


@lru_cache(maxsize=1024)
def snapshot_id(batch: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{batch}/snapshot"))


def groups(
    queued: Iterable[Remediation], *, now: datetime, linger: timedelta, most: int = MOST_NODES
) -> Iterator[tuple[Location, Plan, list[Remediation]]]:
    """The remediations that leave now, by location and plan, most urgent first, at most `most` together.

    A group leaves when it is full, when its oldest member has waited `linger`, or at once when a window opened.
    """
    together: dict[tuple[Location, str], list[Remediation]] = defaultdict(list)
    last: dict[str, tuple[Mapping[str, Any], str]] = {}
    for case in queued:
        # the cases of one policy have one plan, which is spelt once
        policy = str(case.decision.get("policy"))
        plan, spelt = last.get(policy, (None, ""))
        if plan != case.plan:
            spelt = canonical(case.plan)
            last[policy] = case.plan, spelt
        together[case.location, spelt].append(case)
    for (location, _), cases in sorted(together.items(), key=lambda item: str(item[0])):
        cases.sort(key=_urgency)
        leaving = len(cases) if any(_ready(case, linger) <= now for case in cases) else len(cases) // most * most
        for start in range(0, leaving, most):
            yield location, Plan(**cases[start].plan), cases[start : min(start + most, leaving)]


def _urgency(case: Remediation) -> tuple[int, datetime, str]:
    return -int(case.decision.get("priority", 0)), case.due or _LONG_AGO, case.id


def _ready(case: Remediation, linger: timedelta) -> datetime:
    assert case.due is not None, f"{case.id} is queued without a due moment"
    return case.due if case.decision.get("urgent") or case.decision.get("window") else case.due + linger


def parameters(
    plan: Plan, batch: str, nodes: Sequence[str], *, document: str, override: str | None = None
) -> dict[str, list[str]]:
    """The parameters of StartAutomationExecution: lists of 1 to 50 non-empty strings. `override` is a list's address.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartAutomationExecution.html
    """
    shared = {"BatchId": [batch], "SnapshotId": [snapshot_id(batch)]}
    if document not in (PATCH_NODES, PATCH_STOPPED_NODE):
        return {**shared, "NodeIds": list(nodes), **plan.parameters}
    reboot, snapshot = REBOOT_OPTIONS[plan.reboot], "true" if plan.snapshot else "false"
    shared |= {"RebootOption": [reboot], "SnapshotRootVolume": [snapshot]}
    shared |= extras(plan.hooks, plan.output) | ({OVERRIDE: [override]} if override else {})
    if document == PATCH_STOPPED_NODE:
        return {**shared, "NodeId": list(nodes)}
    return {**shared, "NodeIds": list(nodes), "MaxConcurrency": [plan.concurrency], "MaxErrors": [plan.max_errors]}


def extras(hooks: Mapping[str, str], output: Mapping[str, str]) -> dict[str, list[str]]:
    """The parameters for hooks and output; what is not wanted is left out, since SSM refuses an empty text."""
    given = {HOOKS[name]: [document] for name, document in hooks.items()}
    if given:
        given["WithHooks"] = ["true"]
    if output.get("bucket"):
        given |= {"WriteToBucket": ["true"], "OutputBucket": [output["bucket"]]}
        given["OutputPrefix"] = [output.get("prefix") or "patching"]
    if output.get("log_group"):
        given |= {"LogGroup": [output["log_group"]], "WriteToLogGroup": ["true"]}
    return given
