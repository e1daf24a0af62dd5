"""Baselines: what a patch baseline of ours must be like, what is to be done until it is, and whose one a scan used.

A *patch baseline* of ours is known by its tag `patchwarden:baseline`, never by its name: names need not be unique.
https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-patch-baselines.html
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.chain import digest
from chalicelib.core.nodes import Location

ID_TAG = "patchwarden:baseline"
DIGEST_TAG = "patchwarden:digest"

_NAMESPACE = uuid.UUID("6a1f0f0e-5f0b-5d3c-8b1e-2f6f0f5f7a31")

# What AWS answers where nothing was said, so that saying nothing and saying this are the same.
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetPatchBaseline.html
_EMPTY: dict[str, Any] = {
    "Name": "",
    "Description": "",
    "GlobalFilters": {"PatchFilters": []},
    "ApprovalRules": {"PatchRules": []},
    "ApprovedPatches": [],
    "ApprovedPatchesComplianceLevel": "UNSPECIFIED",
    "ApprovedPatchesEnableNonSecurity": False,
    "RejectedPatches": [],
    "RejectedPatchesAction": "ALLOW_AS_DEPENDENCY",
    "Sources": [],
}
_RULE = {"ComplianceLevel": "UNSPECIFIED", "EnableNonSecurity": False}


@dataclass(frozen=True, slots=True)
class Baseline:
    """A patch baseline as its file wants it. `content` is CreatePatchBaseline's input but system, token and tags."""

    id: str
    os: str
    content: Mapping[str, Any] = field(hash=False)
    groups: tuple[str, ...]
    default: bool
    locations: tuple[Location, ...]

    @property
    def digest(self) -> str:
        """Of the content alone: 64 hex digits."""
        return digest(normal(self.content))

    @property
    def tags(self) -> dict[str, str]:
        return {ID_TAG: self.id, DIGEST_TAG: self.digest}


@dataclass(frozen=True, slots=True)
class Found:
    """A patch baseline of the account's own; `ours` is the id in its tag, None for one that is not ours."""

    baseline: str
    os: str
    content: Mapping[str, Any] = field(hash=False)
    default: bool = False
    ours: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One account and Region: its own baselines, and which one every (operating system, patch group) is registered
    with, AWS's own and other people's among them."""

    baselines: tuple[Found, ...]
    registered: Mapping[tuple[str, str], str] = field(hash=False)


CONFLICT = "conflict"
"""A step that only a person can take."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `act` is create, update, deregister, register, default or conflict.

    `baseline` is the id in AWS, None until it is created; `changes` say what is different, one line each.
    """

    act: str
    id: str
    os: str
    baseline: str | None = None
    group: str | None = None
    changes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"act": self.act, "id": self.id, "os": self.os, "baseline": self.baseline, "group": self.group,
                "changes": list(self.changes)}  # fmt: skip


def normal(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content in one form: nothing left out, and in order what has none. Keys that are not content are dropped."""
    known = {name: content.get(name) or empty for name, empty in _EMPTY.items()}
    return {
        **known,
        "GlobalFilters": {"PatchFilters": _filters(known["GlobalFilters"])},
        "ApprovalRules": {"PatchRules": [_rule(rule) for rule in known["ApprovalRules"]["PatchRules"]]},
        "ApprovedPatches": sorted(known["ApprovedPatches"]),
        "RejectedPatches": sorted(known["RejectedPatches"]),
        "Sources": sorted(
            ({**source, "Products": sorted(source["Products"])} for source in known["Sources"]),
            key=lambda source: str(source["Name"]),
        ),
    }


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    known = {**_RULE, **{name: value for name, value in rule.items() if value is not None}}
    return {**known, "PatchFilterGroup": {"PatchFilters": _filters(rule["PatchFilterGroup"])}}


def _filters(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [{"Key": each["Key"], "Values": sorted(each["Values"])} for each in group["PatchFilters"]]
    return sorted(found, key=lambda each: str(each["Key"]))


def token(location: Location, baseline: Baseline, number: int) -> str:
    """The ClientToken of a creation: `number` is that of the journal's line to come: a second try is no other."""
    return str(uuid.uuid5(_NAMESPACE, f"{location}/{baseline.id}/{baseline.digest}/{number}"))


def plan(wanted: Sequence[Baseline], seen: Seen) -> tuple[Step, ...]:
    """What is to be done in one account and Region, in the order in which it can be done.

    A baseline that is not ours is never changed and never loses a patch group: that is a conflict for a person.
    """
    ours, steps = _ours(seen), list(_doubled(seen))
    broken = {step.id for step in steps}
    whole = [one for one in wanted if one.id not in broken]
    moved = [one for one in whole if one.id in ours and ours[one.id].os != one.os]
    steps += [_moved(one, ours[one.id]) for one in moved]
    whole = [one for one in whole if one not in moved]
    for one in whole:
        steps += _content(one, ours.get(one.id))
    steps += _deregistered(whole, ours, seen, broken | {one.id for one in moved})
    for one in whole:
        steps += _registered(one, ours, seen)
    return tuple(steps)


def _ours(seen: Seen) -> dict[str, Found]:
    return {found.ours: found for found in seen.baselines if found.ours}


def _doubled(seen: Seen) -> Iterator[Step]:
    first: dict[str, Found] = {}
    for found in seen.baselines:
        if found.ours and first.setdefault(found.ours, found) is not found:
            what = f"{first[found.ours].baseline} and {found.baseline} both carry the tag {ID_TAG}={found.ours}: "
            yield Step(CONFLICT, found.ours, found.os, found.baseline,
                       changes=(what + "take it off the one that is not in use",))  # fmt: skip


def _moved(one: Baseline, found: Found) -> Step:
    what = f"{found.baseline} is for {found.os}, and a baseline keeps its system: give the file another id"
    return Step(CONFLICT, one.id, one.os, found.baseline, changes=(what,))


def _content(one: Baseline, found: Found | None) -> Iterator[Step]:
    if found is None:
        yield Step("create", one.id, one.os, changes=tuple(differences(_EMPTY, normal(one.content))))
        return
    changes = tuple(differences(normal(found.content), normal(one.content)))
    if changes:
        yield Step("update", one.id, one.os, found.baseline, changes=changes)


def _deregistered(
    wanted: Sequence[Baseline], ours: Mapping[str, Found], seen: Seen, untouched: set[str]
) -> Iterator[Step]:
    """Patch groups that a baseline of ours has and its file does not name, or that has no file any more."""
    files = {one.id: one for one in wanted}
    owner = {found.baseline: found for found in ours.values() if found.ours not in untouched}
    for (os, group), baseline in sorted(seen.registered.items()):
        found = owner.get(baseline)
        if found is None or not found.ours:
            continue
        file = files.get(found.ours)
        if file is None or group not in file.groups:
            why = "no file speaks of this baseline here" if file is None else "its file does not name the group"
            yield Step("deregister", found.ours, os, baseline, group, (why,))


def _registered(one: Baseline, ours: Mapping[str, Found], seen: Seen) -> Iterator[Step]:
    found = ours.get(one.id)
    baseline = found.baseline if found else None
    known = {each.baseline for each in ours.values()}
    for group in one.groups:
        holder = seen.registered.get((one.os, group))
        if holder is None or (holder != baseline and holder in known):
            yield Step("register", one.id, one.os, baseline, group)
        elif holder != baseline:
            what = f"patch group {group} is registered with {holder}, which is not ours: deregister it there first"
            yield Step(CONFLICT, one.id, one.os, baseline, group, (what,))
    if one.default and not (found and found.default):
        yield Step("default", one.id, one.os, baseline, changes=(f"becomes the default for {one.os}",))
    if found and found.default and not one.default:
        what = (
            f"{found.baseline} is the default for {one.os} and its file does not say so: make another one the default"
        )
        yield Step(CONFLICT, one.id, one.os, baseline, changes=(what,))


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Every place where two contents differ, as `ApprovalRules.PatchRules[0].ApproveAfterDays: 7 → 14`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield from differences(before.get(name), after.get(name), f"{where}.{name}" if where else name)
    elif isinstance(before, list) and isinstance(after, list) and any(isinstance(one, dict) for one in before + after):
        for number in range(max(len(before), len(after))):
            old, new = (side[number] if number < len(side) else None for side in (before, after))
            yield from differences(old, new, f"{where}[{number}]")
    elif before != after:
        yield f"{where}: {_said(before)} → {_said(after)}"


def _said(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "nothing"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_said(inner)}" for name, inner in value.items() if inner not in (None, [], False))
    return str(value)


@dataclass(frozen=True, slots=True)
class Known:
    """Which baselines of ours one account and Region has, as the last `baseline apply` there wrote it down."""

    groups: Mapping[tuple[str, str], str] = field(hash=False)
    defaults: Mapping[str, str] = field(hash=False)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Known:
        """From the value of the journal's entry, as `kept` makes it."""
        each = value.get("baselines", {}).values()
        return cls(
            {(one["os"], group): one["baseline"] for one in each for group in one["groups"]},
            {one["os"]: one["baseline"] for one in each if one["default"]},
        )

    def expected(self, os: str, group: str | None) -> str | None:
        """The baseline that a node of this system and patch group is scanned with; None: none of ours speaks for it.

        https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-patch-groups.html
        """
        return self.groups.get((os, group or "")) or self.defaults.get(os)

    def speaks_of(self, baseline: str, group: str | None) -> bool:
        """Whether a baseline of ours stands for the group under some system, or for none."""
        pairs = ((name, each) for (_, name), each in self.groups.items())
        return (group or "", baseline) in pairs or baseline in self.defaults.values()


def kept(wanted: Sequence[Baseline], seen: Seen) -> dict[str, Any]:
    """What the journal keeps of one account and Region: only what is really registered there, file or no file."""
    ours = _ours(seen)
    return {
        "baselines": {
            one.id: {
                "baseline": found.baseline,
                "os": found.os,
                "digest": one.digest,
                "default": found.default,
                "groups": sorted(group for (os, group), each in seen.registered.items()
                                 if each == found.baseline and os == found.os),
            }
            for one in wanted
            if (found := ours.get(one.id))
        }
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose baseline the last scan used. `ours` None: nobody can say, and `because` says why."""

    ours: bool | None
    expected: str | None
    because: str


def judge(
    known: Known | None, *, baseline: str | None, group: str | None, platform: tuple[str | None, str | None] | None
) -> Verdict:
    """Whether a scan with `baseline` was made with ours; `platform` is name and version, in SSM's words."""
    if known is None:
        return Verdict(None, None, "no baseline was ever applied in this account and Region: run baseline apply")
    if baseline is None:
        return Verdict(None, None, "the node was never scanned, so nobody knows which baseline it gets")
    os = operating_system(*platform) if platform else None
    if os is None:
        if known.speaks_of(baseline, group):
            return Verdict(True, baseline, f"scanned with {baseline}, which is ours")
        return Verdict(None, None, f"scanned with {baseline}; the node's operating system is not known")
    expected = known.expected(os, group)
    named = f"patch group {group}" if group else "no patch group"
    if expected is None:
        return Verdict(False, None, f"scanned with {baseline}; none of our baselines stands for {os} and {named}")
    if short(baseline) == short(expected):
        return Verdict(True, expected, f"scanned with {baseline}, which is ours")
    return Verdict(False, expected, f"scanned with {baseline}, but {os} and {named} are to have {expected}")


def short(baseline: str) -> str:
    """A baseline's id without the ARN around it."""
    return baseline.rsplit("/", 1)[-1]


# Beginnings of the names that DescribeInstanceInformation gives, longest first where one begins like another.
_SYSTEMS = (
    ("Microsoft Windows", "WINDOWS"),
    ("Amazon Linux AMI", "AMAZON_LINUX"),
    ("Red Hat Enterprise Linux", "REDHAT_ENTERPRISE_LINUX"),
    ("CentOS", "CENTOS"),
    ("Oracle Linux", "ORACLE_LINUX"),
    ("Ubuntu", "UBUNTU"),
    ("Debian", "DEBIAN"),
    ("Raspbian", "RASPBIAN"),
    ("SLES", "SUSE"),
    ("SUSE", "SUSE"),
    ("Rocky Linux", "ROCKY_LINUX"),
    ("AlmaLinux", "ALMA_LINUX"),
    ("macOS", "MACOS"),
    ("Mac OS X", "MACOS"),
)
_AMAZON = {"2": "AMAZON_LINUX_2", "2022": "AMAZON_LINUX_2022", "2023": "AMAZON_LINUX_2023"}


def operating_system(name: str | None, version: str | None) -> str | None:
    """Patch Manager's word for a platform; None for one that it does not know.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstanceInformation.html
    """
    if not name:
        return None
    found = next((os for start, os in _SYSTEMS if name.startswith(start)), None)
    if found or not name.startswith("Amazon Linux"):
        return found
    release = (version or "").split(".", 1)[0]
    return _AMAZON.get(release, "AMAZON_LINUX" if release in ("2017", "2018") else None)
