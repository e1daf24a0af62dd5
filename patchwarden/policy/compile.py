"""Compiling: a directory of policy files becomes the one canonical document that the service loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.core.chain import canonical
from chalicelib.core.compiled import VERSION, digest_of
from chalicelib.core.moments import format_moment
from chalicelib.core.paths import Path as FactPath
from chalicelib.core.policies import PolicySet
from patchwarden.policy import set_shapes, shapes
from patchwarden.policy.asking import operators, parsed
from patchwarden.policy.baseline_files import Baselines, read_baselines
from patchwarden.policy.check import GROUPS, check_policy, check_set, size
from patchwarden.policy.expecting import check_tests
from patchwarden.policy.fitting import fit
from patchwarden.policy.fixtures import Fixture, read_fixtures
from patchwarden.policy.problems import Level, Problem
from patchwarden.policy.schedule_files import Schedules, compiled_schedule, read_schedules
from patchwarden.policy.source import Mark, Source, read

SET = "_set.yaml"


class Loaded(NamedTuple):
    """The document, or None if there is an error among the problems; problems in the order of files and lines."""

    document: dict[str, Any] | None
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level is Level.ERROR]


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as read and checked, with whatever could be made of each file."""

    rules: set_shapes.SetFile | None
    policies: dict[str, tuple[Source, shapes.PolicyFile]]
    fixtures: dict[str, Fixture | None]
    schedules: Schedules
    baselines: Baselines
    problems: list[Problem]

    @property
    def sound(self) -> bool:
        return all(problem.level is not Level.ERROR for problem in self.problems)


def load_directory(path: Path, *, now: datetime | None = None) -> Loaded:
    """The compiled document and every problem. `now` adds what depends on the day: what ended, what never opens."""
    directory = read_directory(path, now=now)
    return Loaded(compiled(directory) if directory.sound else None, directory.problems)


def compiled_text(path: Path, *, now: datetime | None = None) -> tuple[str | None, list[Problem]]:
    """The document as its canonical JSON text, or None, and every problem."""
    document, problems = load_directory(path, now=now)
    return (None if document is None else canonical(document)), problems


def read_directory(path: Path, *, now: datetime | None = None) -> Directory:
    """Every file of the directory, read and checked; files other than *.yaml are not policies."""
    setting = read(path / SET)
    rules = _rules(setting, now)
    fixtures, sources = read_fixtures(path / "fixtures")
    policies: dict[str, tuple[Source, shapes.PolicyFile]] = {}
    read_all = [read(file) for file in sorted(path.glob("*.y*ml")) if not file.name.startswith("_")]
    first = _first_files(read_all)
    # a file that cannot be read says so once; the tests of others that name it have nothing wrong
    named = {Path(source.name).stem: source for source in read_all if source.data is None} | first
    for source in read_all:
        if source.data is None:
            continue
        policy = fit(source, shapes.PolicyFile)
        check_policy(source, rules, now)
        check_tests(source, rules, fixtures, named)
        if first.get(str(source.data.get("id"))) is not source:
            name = str(source.data["id"])
            source.add("PW208", ("id",), f"the id {name!r} is already that of {first[name].name}", "give it another")
        elif policy is not None:
            policies[policy.id] = source, policy
    schedules, planned = read_schedules(path / "schedules", rules, now)
    baselines, wanted = read_baselines(path / "baselines", rules)
    problems = [problem for source in (setting, *sources, *read_all, *planned, *wanted) for problem in source.problems]
    return Directory(rules, policies, fixtures, schedules, baselines, sorted(problems))


def _rules(source: Source, now: datetime | None) -> set_shapes.SetFile | None:
    if source.data is None:
        source.add("PW505", Mark(1, 1), "the directory has no usable _set.yaml", "write one with scope: at least")
        return None
    rules = fit(source, set_shapes.SetFile)
    check_set(source, now)
    return rules


def _first_files(sources: list[Source]) -> dict[str, Source]:
    """Which file an id belongs to: the first by name."""
    first: dict[str, Source] = {}
    for source in sources:
        if source.data is not None:
            first.setdefault(str(source.data.get("id")), source)
    return first


def compiled(directory: Directory) -> dict[str, Any]:
    """The document of a sound directory, ordered by id: neither names nor order of files change its policies."""
    assert directory.rules is not None, "a directory without rules has a problem that says so"
    policies = [_policy(*directory.policies[name], directory.rules) for name in sorted(directory.policies)]
    schedules = [compiled_schedule(*directory.schedules[name], directory.rules) for name in sorted(directory.schedules)]
    document = {
        "version": VERSION,
        "settings": _settings(directory.rules),
        "policies": policies,
        "schedules": schedules,
    }
    document["digest"] = digest_of(document)
    PolicySet.load(document)
    return document


def with_policy(directory: Directory, path: Path, now: datetime) -> tuple[PolicySet, list[Problem]]:
    """The set of a sound directory with one more policy file, whose tests are not looked at, and its problems."""
    document, source = compiled(directory), read(path)
    policy = fit(source, shapes.PolicyFile) if source.data is not None else None
    assert directory.rules is not None, "a sound directory has rules"
    if policy is not None:
        check_policy(source, directory.rules, now)
        kept = [one for one in document["policies"] if one["id"] != policy.id]
        document["policies"] = sorted([*kept, _policy(source, policy, directory.rules)], key=lambda one: one["id"])
        document["digest"] = digest_of(document)
    return PolicySet.load(document), source.problems


def _policy(source: Source, policy: shapes.PolicyFile, rules: set_shapes.SetFile) -> dict[str, Any]:
    ends = [moment for moment in (policy.expires, policy.then.until) if moment is not None]
    return {
        "id": policy.id,
        "title": policy.title,
        "owner": policy.owner,
        "band": policy.band,
        "mode": policy.mode,
        "priority": policy.priority,
        "expires": _moment(min(ends, default=None)),
        "rollout": _reach(policy.rollout) if policy.rollout else None,
        "when": _when(source, policy),
        "then": {**_then(policy.then, rules), "waves": _waves(policy.rollout)},
        "origin": f"{source.name}:{source.at_key(('id',)).line}",
    }


def _reach(rollout: shapes.Rollout) -> dict[str, Any] | None:
    """For whom it is enforced; None: for all, and then only its waves are left of the rollout."""
    everybody = rollout.percent == 100 and rollout.accounts is None and rollout.waves
    return None if everybody else rollout.model_dump(include={"percent", "accounts"})


def _waves(rollout: shapes.Rollout | None) -> list[dict[str, Any]]:
    waves = (rollout.waves if rollout else None) or []
    return [{**wave.model_dump(), "soak": _seconds(wave.soak)} for wave in waves]


def _when(source: Source, policy: shapes.PolicyFile) -> dict[str, list[dict[str, Any]]]:
    raw = source.data["when"]
    when = {
        group: [
            _clause(item, source.at_key(("when", group, number)).line) for number, item in enumerate(raw.get(group, []))
        ]
        for group in GROUPS
    }
    when["all"] += _implied(policy, when["all"])
    return when


def _implied(policy: shapes.PolicyFile, clauses: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Our own runbooks install patches: a policy that names no other one speaks for the control patch only."""
    asked = any(clause["path"] == _CONTROL["path"] for clause in clauses)
    if policy.then.action in ("remediate", "approve") and policy.then.document is None and not asked:
        yield _clause(_CONTROL, None)


_CONTROL = {"path": "$.finding.control", "equals": "patch"}


def _clause(raw: dict[str, Any], line: int | None) -> dict[str, Any]:
    path, name = parsed(raw["path"]), operators(raw)[0]
    assert isinstance(path, FactPath), "a path that does not parse is a problem"
    return {
        "path": path.text,
        "steps": None if path.many else list(path.steps),
        "operator": name,
        "operand": raw[name],
        "match": raw.get("match", "any"),
        "if_missing": raw.get("if_missing", False),
        "line": line,
    }


_AS_WRITTEN = {"action", "severity", "window", "on_deadline", "reboot", "stopped", "snapshot", "reason"}


def _then(then: shapes.Then, rules: set_shapes.SetFile) -> dict[str, Any]:
    """Complete: what the policy leaves out is what `_set.yaml` says."""
    return {
        **then.model_dump(include=_AS_WRITTEN),
        "deadline": _seconds(then.deadline),
        "attempts": then.attempts or rules.defaults.attempts,
        "cooldown": _seconds(then.cooldown if then.cooldown is not None else rules.defaults.cooldown),
        "limits": _limits(then.limits, rules),
        "document": then.document.model_dump() if then.document else None,
        "until": _moment(then.until),
        "approved": then.approved.model_dump(mode="json") if then.approved else None,
        "approval": _approval(then.approval or shapes.Approval()) if then.action == "approve" else None,
        "hooks": then.hooks.model_dump(exclude_none=True) if then.hooks else {},
        **_named(then),
    }


def _named(then: shapes.Then) -> dict[str, Any]:
    """Only where a policy has them, so that the digest of every other policy stays what it was."""
    if not then.patches:
        return {}
    return {"patches": [one.model_dump() for one in then.patches], "through": then.through or []}


def _approval(approval: shapes.Approval) -> dict[str, Any]:
    return {**approval.model_dump(), "within": _seconds(approval.within)}


def _limits(limits: shapes.Limits, rules: set_shapes.SetFile) -> dict[str, Any]:
    """Where nobody says how much, it is a tenth, and never more than the ceiling: no limit would be above any."""
    given = {**rules.defaults.limits.model_dump(exclude_none=True), **limits.model_dump(exclude_none=True)}
    shares = {name: min("10%", getattr(rules.ceilings, name), key=size) for name in ("concurrency", "max_errors")}
    budget = limits.error_budget or rules.defaults.limits.error_budget
    told = {"max_failures": budget.max_failures, "within": _seconds(budget.within)} if budget else None
    surge = {"surge": int(given["surge"].removesuffix("%"))} if "surge" in given else {}
    return {**shares, "max_per_hour": rules.ceilings.max_per_hour, "per_group": None, **given, "error_budget": told,
            **surge}  # fmt: skip


def _settings(rules: set_shapes.SetFile) -> dict[str, Any]:
    return {
        "linger": _seconds(rules.linger),
        "verify_within": _seconds(rules.verify_within),
        "stale_after": _seconds(rules.stale_after),
        "executions_per_location": rules.executions_per_location,
        "scope": rules.scope.model_dump(),
        **({"units": _units(rules)} if rules.units else {}),
        "windows": {name: window.model_dump() for name, window in rules.windows.items()},
        "freezes": [_freeze(freeze) for freeze in rules.freezes],
        "documents": sorted(rules.documents),
        "output": rules.output.model_dump(exclude_none=True) if rules.output else {},
        **({} if rules.baselines == "off" else {"baselines": rules.baselines}),
        **({"immutable": rules.immutable.model_dump()} if rules.immutable else {}),
        "surge": _surge(rules.surge),
    }


def _units(rules: set_shapes.SetFile) -> dict[str, str]:
    """The unit of each account."""
    return {account: unit for unit, accounts in rules.units.items() for account in accounts}


def _surge(surge: set_shapes.Surge) -> dict[str, Any]:
    given = surge.model_dump(exclude={"same"} if surge.same is None else set())
    shares = [name for name in ("location", "account", "fleet", "same") if name in given]
    return {**given, **{name: int(given[name].removesuffix("%")) for name in shares}}


def _freeze(freeze: set_shapes.Freeze) -> dict[str, Any]:
    return {
        "name": freeze.name,
        "since": _moment(freeze.from_),
        "until": _moment(freeze.until),
        "reason": freeze.reason,
    }


def _seconds(span: timedelta | None) -> int | None:
    return None if span is None else int(span.total_seconds())


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)
