"""Baseline files: what may stand in `baselines/*.yaml`, whether AWS would take it, and what AWS is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from chalicelib.core.baselines import Baseline
from chalicelib.core.nodes import ACCOUNT, REGION, Location
from patchwarden.policy import fields, set_shapes
from patchwarden.policy.fitting import fit
from patchwarden.policy.problems import Level, near, near_or_all
from patchwarden.policy.source import Source, read

System = Literal[
    "WINDOWS", "AMAZON_LINUX", "AMAZON_LINUX_2", "AMAZON_LINUX_2022", "AMAZON_LINUX_2023", "UBUNTU", "DEBIAN",
    "RASPBIAN", "REDHAT_ENTERPRISE_LINUX", "CENTOS", "ORACLE_LINUX", "ROCKY_LINUX", "ALMA_LINUX", "SUSE", "MACOS",
]  # fmt: skip
"""https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreatePatchBaseline.html"""
Severity = Literal["critical", "high", "medium", "low", "informational", "unspecified"]

_DEBIAN = frozenset({"UBUNTU", "DEBIAN", "RASPBIAN"})
_NOT_LINUX = frozenset({"WINDOWS", "MACOS"})

PatchId = Annotated[str, Field(min_length=1, max_length=100)]
PatchIds = Annotated[list[PatchId], Field(min_length=1, max_length=50)]
FilterValues = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=20)]
Group = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\w \t.:/=+\-@]+$")]


class Rule(fields.Shape):
    """Which patches are approved, and when: exactly one of approve_after_days and approve_until."""

    product: Annotated[FilterValues | None, Field(description="Products as AWS names them; absent: all")] = None
    product_family: Annotated[FilterValues | None, Field(description="Families of products; Windows")] = None
    classification: Annotated[
        FilterValues | None, Field(description="Such as Security; not Debian and its like", examples=[["Security"]])
    ] = None
    severity: Annotated[
        FilterValues | None, Field(description="Such as Critical; on Windows MSRC's", examples=[["Critical"]])
    ] = None
    priority: Annotated[FilterValues | None, Field(description="Such as Required; Debian and its like")] = None
    section: Annotated[FilterValues | None, Field(description="Section of the archive; Debian and its like")] = None
    applications: Annotated[
        bool, Field(description="Patches of Microsoft applications, instead of the system's own")
    ] = False
    approve_after_days: Annotated[int | None, Field(ge=0, le=360, description="Days after its release")] = None
    approve_until: Annotated[
        fields.Day | None, Field(description="Released on this day or before: everybody gets the same set")
    ] = None
    compliance_level: Annotated[Severity, Field(description="How bad it is when such a patch is missing")] = (
        "unspecified"
    )
    non_security: Annotated[bool, Field(description="Updates that are not about security too; Linux")] = False


class ApprovedPatches(fields.Shape):
    """Patches that are approved by name."""

    patches: Annotated[PatchIds, Field(description="KB numbers, or packages as AWS writes them")]
    compliance_level: Annotated[Severity, Field(description="How bad it is when one is missing")] = "unspecified"
    non_security: Annotated[bool, Field(description="Some are not about security; Linux")] = False


class RejectedPatches(fields.Shape):
    """Patches that are rejected by name."""

    patches: Annotated[PatchIds, Field(description="KB numbers, or packages as AWS writes them")]
    action: Annotated[
        Literal["allow-as-dependency", "block"], Field(description="Whether one may come in as a dependency")
    ] = "allow-as-dependency"


class Repository(fields.Shape):
    """Another repository than the node's own, as its package manager wants it configured."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.\-]{3,50}$", description="3 to 50 letters, digits, . _ -")]
    products: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128)]],
        Field(min_length=1, max_length=20, description="Versions of the system that it is for"),
    ]
    configuration: Annotated[str, Field(min_length=1, max_length=1024, description="The text of the repository's file")]


class BaselineWhere(fields.Shape):
    """In which accounts and Regions; without either everywhere in the scope of `_set.yaml`."""

    accounts: Annotated[list[str] | None, Field(min_length=1, description="Account ids, in quotes")] = None
    regions: Annotated[list[str] | None, Field(min_length=1, description="Names of Regions")] = None


class BaselineFile(fields.Shape):
    """One patch baseline: which patches the nodes of some patch groups are to have."""

    id: Annotated[fields.Id, Field(description="Its name for ever: the baseline in AWS is tagged with it")]
    title: Annotated[fields.Text, Field(description="One line for people; AWS shows it as the description")]
    owner: Annotated[fields.Text, Field(description="Who answers for it: a mail address or a team")]
    os: Annotated[System, Field(description="The operating system; it never changes")]
    rules: Annotated[list[Rule], Field(max_length=10, description="What is approved")] = Field(default_factory=list)
    approved: Annotated[ApprovedPatches | None, Field(description="Approved by name, whatever the rules say")] = None
    rejected: Annotated[RejectedPatches | None, Field(description="Rejected by name, whatever the rules say")] = None
    sources: Annotated[list[Repository], Field(max_length=20, description="Other repositories; Linux")] = Field(
        default_factory=list
    )
    patch_groups: Annotated[list[Group], Field(max_length=25, description="Values of the tag PatchGroup")] = Field(
        default_factory=list
    )
    default: Annotated[bool, Field(description="For nodes of this system that are in no registered patch group")] = (
        False
    )
    where: Annotated[BaselineWhere, Field(description="In which accounts and Regions")] = Field(
        default_factory=BaselineWhere
    )


Baselines = dict[str, tuple[Source, BaselineFile]]

_LINUX_KEYS = frozenset({"product", "classification", "severity"})
KEYS: dict[str, frozenset[str]] = {
    "WINDOWS": _LINUX_KEYS | {"product_family"},
    "MACOS": frozenset({"product", "classification"}),
    **dict.fromkeys(_DEBIAN, frozenset({"product", "priority", "section"})),
}
"""Filters by system; every other one takes those of Linux.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribePatchProperties.html
"""
_FILTERS = ("product", "product_family", "classification", "severity", "priority", "section")

_YUM_CLASSES = ("Security", "Bugfix", "Enhancement", "Recommended", "Newpackage")
_YUM: dict[str, tuple[str, ...]] = {
    "classification": _YUM_CLASSES,
    "severity": ("Critical", "Important", "Medium", "Moderate", "Low", "None"),
}
_APT: dict[str, tuple[str, ...]] = {"priority": ("Required", "Important", "Standard", "Optional", "Extra")}
VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "WINDOWS": {
        "classification": ("CriticalUpdates", "DefinitionUpdates", "Drivers", "FeaturePacks", "SecurityUpdates",
                           "ServicePacks", "Tools", "UpdateRollups", "Updates", "Upgrades"),
        "severity": ("Critical", "Important", "Low", "Moderate", "Unspecified"),
    },
    "MACOS": {},
    "SUSE": {"classification": ("Security", "Recommended", "Optional", "Feature", "Document", "Yast"),
             "severity": ("Critical", "Important", "Moderate", "Low")},
    **dict.fromkeys(_DEBIAN, _APT),
}  # fmt: skip
"""Values that AWS lists in its guide, by system (the others as yum's); it may know more by now, so another one is a
warning. Products, families and sections grow with every release: only their shape is checked."""


def read_baselines(directory: Path, rules: set_shapes.SetFile | None) -> tuple[Baselines, list[Source]]:
    """The baselines by id, and every source with its problems; `rules` None: `_set.yaml` could not be used."""
    found: Baselines = {}
    sources = [read(path) for path in sorted(directory.glob("*.y*ml"))]
    for source in sources:
        baseline = fit(source, BaselineFile) if source.data is not None else None
        if baseline is None:
            continue
        check_baseline(source, baseline, rules)
        if baseline.id in found:
            first = found[baseline.id][0].name
            source.add("PW208", ("id",), f"the id {baseline.id!r} is already that of {first}", "give it another")
            continue
        if rules is not None:
            _check_claims(source, baseline, found, rules)
        found[baseline.id] = source, baseline
    return found, sources


def check_baseline(source: Source, baseline: BaselineFile, rules: set_shapes.SetFile | None) -> None:
    """Every problem of a baseline of the right shape."""
    for number, rule in enumerate(baseline.rules):
        _check_moment(source, number, rule, baseline.os)
        _check_filters(source, number, rule, baseline.os)
    _check_linux_only(source, baseline)
    _check_names(source, baseline)
    _check_places(source, baseline, rules)
    if not baseline.rules and baseline.approved is None:
        source.add("PW906", ("os",), "the baseline approves nothing", "add rules: or approved:")


def _check_moment(source: Source, number: int, rule: Rule, os: str) -> None:
    where = ("rules", number)
    given = [name for name in ("approve_after_days", "approve_until") if getattr(rule, name) is not None]
    if len(given) != 1:
        what = f"a rule has one of them, not {' and '.join(given)}" if given else "the rule never approves anything"
        source.add("PW901", where, what, "write approve_after_days: 7 or approve_until: 2026-11-10")
    elif os in _DEBIAN and (rule.approve_until or rule.approve_after_days):
        what = f"{os} tells no release dates, so {given[0]} can wait for none"
        source.add_at_key("PW902", (*where, given[0]), what, "write approve_after_days: 0")


def _check_filters(source: Source, number: int, rule: Rule, os: str) -> None:
    keys, values = KEYS.get(os, _LINUX_KEYS), VALUES.get(os, _YUM)
    for name in _FILTERS:
        given = getattr(rule, name)
        if given is None:
            continue
        if name not in keys:
            hint = f"its filters are {', '.join(sorted(keys))}"
            source.add_at_key("PW902", ("rules", number, name), f"{os} has no filter {name}", hint)
            continue
        known = values.get(name)
        for place, value in enumerate(given):
            if known and value != "*" and value not in known:
                what = f"AWS's guide lists no {name} {value!r} for {os}"
                source.add("PW903", ("rules", number, name, place), what, near_or_all(value, known), Level.WARNING)
    if len(list(_filters(rule, os))) > 4:
        source.add("PW902", ("rules", number), "a rule has at most 4 filters, the one for applications too")


def _check_linux_only(source: Source, baseline: BaselineFile) -> None:
    os = baseline.os
    for number, rule in enumerate(baseline.rules):
        if rule.non_security and os in _NOT_LINUX:
            source.add_at_key("PW902", ("rules", number, "non_security"), f"{os} has no non_security", "remove it")
        if rule.applications and os != "WINDOWS":
            what = f"applications are Microsoft's, and the baseline is for {os}"
            source.add_at_key("PW902", ("rules", number, "applications"), what, "remove it")
    if baseline.approved and baseline.approved.non_security and os in _NOT_LINUX:
        source.add_at_key("PW902", ("approved", "non_security"), f"{os} has no non_security", "remove it")
    if baseline.sources and os in _NOT_LINUX:
        source.add_at_key("PW902", ("sources",), f"{os} takes no other repositories", "remove it")


def _check_names(source: Source, baseline: BaselineFile) -> None:
    approved = set(baseline.approved.patches) if baseline.approved else set()
    for number, patch in enumerate(baseline.rejected.patches if baseline.rejected else ()):
        if patch in approved:
            where = ("rejected", "patches", number)
            source.add("PW906", where, f"{patch} is both approved and rejected", "take it out of one of the two")


_PLACES = (
    ("accounts", ACCOUNT, "an account id has 12 digits, in quotes"),
    ("regions", REGION, "a Region is written like eu-west-1"),
)


def _check_places(source: Source, baseline: BaselineFile, rules: set_shapes.SetFile | None) -> None:
    for name, pattern, remedy in _PLACES:
        allowed = getattr(rules.scope, name) if rules else None
        for number, value in enumerate(getattr(baseline.where, name) or ()):
            where = ("where", name, number)
            if not pattern.match(value):
                source.add("PW504", where, f"{value!r} cannot be one of {name}", remedy)
            elif allowed is not None and value not in allowed:
                hint = near(value, allowed) or f"add it to scope: {name}"
                source.add("PW904", where, f"{value} is not in the scope of _set.yaml", hint)


def _check_claims(source: Source, baseline: BaselineFile, found: Baselines, rules: set_shapes.SetFile) -> None:
    """One patch group has one baseline for a system, and a system one default, in each account and Region."""
    here = set(locations(baseline, rules))
    for other_source, other in found.values():
        if other.os != baseline.os or here.isdisjoint(locations(other, rules)):
            continue
        for number, group in enumerate(baseline.patch_groups):
            if group in other.patch_groups:
                what = f"patch group {group} of {baseline.os} belongs to {other.id} already, in {other_source.name}"
                source.add("PW905", ("patch_groups", number), what, "name it in one of them, or part them by where:")
        if baseline.default and other.default:
            what = f"the default for {baseline.os} is {other.id} already, in {other_source.name}"
            source.add_at_key("PW905", ("default",), what, "leave it to one of them, or part them by where:")


def locations(baseline: BaselineFile, rules: set_shapes.SetFile) -> list[Location]:
    """Every account and Region that it is for."""
    accounts, regions = baseline.where.accounts or rules.scope.accounts, baseline.where.regions or rules.scope.regions
    return [Location(account, region) for account in accounts for region in regions]


def compiled_baseline(baseline: BaselineFile, rules: set_shapes.SetFile) -> Baseline:
    """A sound file as what AWS is asked for."""
    approved, rejected = baseline.approved, baseline.rejected
    content: dict[str, Any] = {
        "Name": f"patchwarden-{baseline.id}",
        "Description": f"{baseline.title} ({baseline.owner})",
        "ApprovalRules": {"PatchRules": [_rule(rule, baseline.os) for rule in baseline.rules]},
    }
    if approved:
        content["ApprovedPatches"] = approved.patches
        content["ApprovedPatchesComplianceLevel"] = approved.compliance_level.upper()
        content["ApprovedPatchesEnableNonSecurity"] = approved.non_security
    if rejected:
        content["RejectedPatches"] = rejected.patches
        content["RejectedPatchesAction"] = rejected.action.replace("-", "_").upper()
    content["Sources"] = [
        {"Name": source.name, "Products": source.products, "Configuration": source.configuration}
        for source in baseline.sources
    ]
    return Baseline(
        baseline.id, baseline.os, content, tuple(baseline.patch_groups), baseline.default,
        tuple(locations(baseline, rules)),
    )  # fmt: skip


def _rule(rule: Rule, os: str) -> dict[str, Any]:
    until: date | None = rule.approve_until
    moment = {"ApproveUntilDate": until.isoformat()} if until else {"ApproveAfterDays": rule.approve_after_days}
    return {
        "PatchFilterGroup": {"PatchFilters": list(_filters(rule, os))},
        "ComplianceLevel": rule.compliance_level.upper(),
        "EnableNonSecurity": rule.non_security,
        **moment,
    }


def _filters(rule: Rule, os: str) -> Iterator[dict[str, Any]]:
    """A rule without a product is for all of them; AWS wants at least one filter."""
    if rule.applications:
        yield {"Key": "PATCH_SET", "Values": ["APPLICATION"]}
    yield {"Key": "PRODUCT", "Values": rule.product or ["*"]}
    for name in _FILTERS[1:]:
        if values := getattr(rule, name):
            key = "MSRC_SEVERITY" if name == "severity" and os == "WINDOWS" else name.upper()
            yield {"Key": key, "Values": values}
