"""Baselines: ours are in force as they were applied, and are the ones that nodes are scanned with.

What was applied stands in the journal: `patchwarden baseline apply` writes it down for every account and Region.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.core.baselines import Found, Known, Seen, judge, normal, operating_system, short
from chalicelib.core.chain import digest
from chalicelib.core.errors import Denied
from patchwarden.doctor.nodes import known, shown
from patchwarden.doctor.remarks import OK, WARNING, WRONG, Patient, Remark, code

_PLAN = "patchwarden baseline plan policies"
_DRIFT = "patchwarden baseline drift policies"


def baselines(patient: Patient) -> Iterator[Remark]:
    """Against ours where some were applied; without any, against the defaults of the account."""
    kept, faults = patient.asks.kept, []
    if kept is None:
        if patient.asks.baselines != "off":
            yield patient.says(
                "baselines", WRONG,
                "no baseline of policies/baselines was ever applied here, and policies ask for ours",
                "see what would change, and apply it", _PLAN,
            )  # fmt: skip
            return
        faults = list(_by_another(patient))
    else:
        faults = [*_drifted(patient, kept), *_systems(patient, Known.of(kept))]
    yield from faults or [patient.says("baselines", OK, "every node was measured by the baseline that is meant for it")]


def _drifted(patient: Patient, kept: Mapping[str, Any]) -> Iterator[Remark]:
    """What somebody changed, took away or registered elsewhere since it was applied."""
    if patient.baselines is None:
        return
    seen = patient.baselines.seen(patient.location)
    there = {found.baseline: found for found in seen.baselines}
    for id, one in sorted(kept.get("baselines", {}).items()):
        for what in _changes(one, there.get(one["baseline"]), seen):
            yield patient.says("baselines", WRONG, f"the baseline {id} ({one['baseline']}) {what}",
                               "find out who did that; then apply ours again", _DRIFT)  # fmt: skip


def _changes(one: Mapping[str, Any], found: Found | None, seen: Seen) -> Iterator[str]:
    if found is None:
        yield "is gone"
        return
    if digest(normal(found.content)) != one["digest"]:
        yield "is not as it was applied"
    if one["default"] and not found.default:
        yield f"is no longer the default for {one['os']}"
    lost = [group for group in one["groups"] if seen.registered.get((one["os"], group)) != one["baseline"]]
    if lost:
        yield f"is no longer registered for the patch groups {', '.join(lost)}"


def _systems(patient: Patient, ours: Known) -> Iterator[Remark]:
    """Per operating system: nodes for which none of ours stands, and nodes that another one was used on."""
    without: dict[str, list[str]] = defaultdict(list)
    strange: dict[str, list[str]] = defaultdict(list)
    told = {one["InstanceId"]: one for one in known(patient)}
    for state in _states(patient, list(told)):
        node = told[state["InstanceId"]]
        platform = node.get("PlatformName"), node.get("PlatformVersion")
        system, group = operating_system(*platform) or "an unknown system", state.get("PatchGroup") or None
        verdict = judge(ours, baseline=state["BaselineId"], group=group, platform=platform)
        if verdict.ours is False and verdict.expected is None:
            without[system].append(state["InstanceId"])
        elif verdict.ours is False:
            strange[system].append(f"{state['InstanceId']} {verdict.because}")
    for system, ids in sorted(without.items()):
        yield patient.says(
            "baselines", WARNING, f"no baseline of ours stands for {system}: {shown(ids)}",
            f"write one for {system} in policies/baselines, with the nodes' patch group or as the default", _PLAN,
        )  # fmt: skip
    for system, said in sorted(strange.items()):
        yield patient.says(
            "baselines", WARNING, f"{system}: {shown(said)}", "find what else scans them: a patch policy, an "
            "association or a maintenance window",
            "console: Systems Manager, State Manager, associations of AWS-RunPatchBaseline",
        )  # fmt: skip


def _by_another(patient: Patient) -> Iterator[Remark]:
    """Nodes outside every patch group that were last measured by another baseline than the default of their system."""
    systems: dict[str, list[str]] = defaultdict(list)
    for one in known(patient):
        if system := operating_system(one.get("PlatformName"), one.get("PlatformVersion")):
            systems[system].append(one["InstanceId"])
    strange = [
        f"{state['InstanceId']} by {state['BaselineId']} and not {default}"
        for system in sorted(systems)
        if (default := _default(patient, system))
        for state in _states(patient, systems[system])
        if not state.get("PatchGroup") and short(state["BaselineId"]) != default
    ]
    if strange:
        yield patient.says(
            "baselines", WARNING,
            f"{len(strange)} nodes were measured by another baseline than the default: {shown(strange)}",
            "find what else scans them: a patch policy, an association or a maintenance window",
            "console: Systems Manager, State Manager, associations of AWS-RunPatchBaseline",
        )  # fmt: skip


def _states(patient: Patient, ids: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(ids), 50):
        some = ids[start : start + 50]
        for page in patient.pages("ssm", "describe_instance_patch_states", InstanceIds=some, MaxResults=50):
            yield from page["InstancePatchStates"]


def _default(patient: Patient, system: str) -> str | None:
    """The id of the default baseline; AWS's own are named by an ARN, patch states by the id in it."""
    try:
        answer = patient.ask("ssm", "get_default_patch_baseline", OperatingSystem=system)
    except Denied as error:
        if code(error) != "DoesNotExist":
            raise
        return None
    return short(str(answer["BaselineId"]))
