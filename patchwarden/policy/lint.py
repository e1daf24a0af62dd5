"""Lint: what is wrong between policies that are each right by themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

from chalicelib.core.conditions import Condition, Truth
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import Mode, Policy, PolicySet
from chalicelib.core.readings import Clause, Readings
from chalicelib.core.then import Action, Then
from patchwarden.policy.check import GROUPS
from patchwarden.policy.compile import Directory, compiled, read_directory
from patchwarden.policy.fixtures import situation
from patchwarden.policy.implying import apart, covers, impossible
from patchwarden.policy.problems import Level, Problem
from patchwarden.policy.source import Location, Mark, Source
from patchwarden.policy.testing import Result, tests_of

SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Checked:
    """All that is known of a directory: its problems, those between policies too, and what its tests found.

    The tests of a directory with an error are not run, and its policies are not compared.
    """

    problems: tuple[Problem, ...]
    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not result.passed)

    @property
    def found(self) -> tuple[Problem | Result, ...]:
        """Whatever is to be told, failed tests last."""
        return (*self.problems, *self.failed)

    @property
    def errors(self) -> int:
        """How many problems and failed tests stand in the way of publishing."""
        return sum(problem.level is Level.ERROR for problem in self.problems) + len(self.failed)


def check_directory(path: Path, *, now: datetime | None = None) -> Checked:
    """Load, compare and test; `now` adds what depends on the day."""
    directory = read_directory(path, now=now)
    if not directory.sound:
        return Checked(tuple(directory.problems), ())
    policies = PolicySet.load(compiled(directory))
    problems = [*directory.problems, *lint(directory, policies, now=now)]
    return Checked(tuple(sorted(problems)), tuple(tests_of(directory, policies)))


def lint(directory: Directory, policies: PolicySet, *, now: datetime | None = None) -> list[Problem]:
    """Every problem between the policies of a sound directory, by file and line."""
    judged = [policy for policy in policies.policies if policy.mode is not Mode.OFF]
    enforced = [policy for policy in judged if policy.mode is Mode.ENFORCE]
    found = [
        *_impossible(directory, judged),
        *_shadowed(directory, enforced),
        *_undecided(directory, enforced),
        *_unseen(directory, judged),
        *(_ending(directory, enforced, now) if now else ()),
    ]
    return sorted(found)


def _problem(source: Source, mark: Mark, code: str, what: str, hint: str, level: Level = Level.WARNING) -> Problem:
    return Problem(source.shown, mark.line, mark.column, code, what, hint, level)


def _at_id(directory: Directory, policy: Policy) -> tuple[Source, Mark]:
    source, _ = directory.policies[policy.id]
    return source, source.at(("id",))


def _impossible(directory: Directory, policies: Sequence[Policy]) -> Iterator[Problem]:
    for policy in policies:
        pair = impossible(policy.when)
        if pair is not None:
            one, other = (clause.condition for clause in pair)
            source, _ = directory.policies[policy.id]
            mark = source.at_key(("when",))
            what = f"{_said(one)} and {_said(other)} never hold together: {policy.id} speaks for nothing"
            yield _problem(source, mark, "PW701", what, "remove one, or use the group any", Level.ERROR)


def _said(condition: Condition) -> str:
    return f"{condition.path.text} {condition.operator} {condition.operand}"


# --- which policy stands in whose way -------------------------------------------------------------------------------


def _shadowed(directory: Directory, enforced: Sequence[Policy]) -> Iterator[Problem]:
    """Policies come in rank order: only an earlier one can keep a later one from ever deciding."""
    for number, (policy, near) in enumerate(zip(enforced, neighbours(enforced), strict=True)):
        above = next(
            (enforced[each] for each in near if each < number and _always_before(enforced[each], policy)), None
        )
        if above is not None:
            source, mark = _at_id(directory, policy)
            what = f"{policy.id} can never decide: {above.id} ranks above it and speaks for all that it speaks for"
            hint = f"raise its priority or band, narrow {above.id}, or remove one of the two"
            yield _problem(source, mark, "PW702", what, hint)


def _always_before(above: Policy, policy: Policy) -> bool:
    if above.rollout is not None or (above.expires and (policy.expires is None or policy.expires > above.expires)):
        return False
    return covers(above.when, policy.when)


def _undecided(directory: Directory, enforced: Sequence[Policy]) -> Iterator[Problem]:
    """Only the letters of the id decide between two that are equal in rank and want different things."""
    for number, (one, near) in enumerate(zip(enforced, neighbours(enforced), strict=True)):
        for other in (enforced[each] for each in near if each > number):
            equal = one.rank[:-1] == other.rank[:-1] and one.then.action is not Action.EXEMPT
            if equal and one.then != other.then and not apart(one.when, other.when):
                yield _tie(directory, one, other)


def neighbours(policies: Sequence[Policy]) -> Iterator[list[int]]:
    """For each policy the places of those that may speak for the same findings, so that not all pairs are compared.

    Two that accept different values of one path never do; the path is the one that tells most policies apart.
    """
    accepts = [_accepted(policy) for policy in policies]
    holders: dict[str, dict[object, set[int]]] = defaultdict(lambda: defaultdict(set))
    for number, accepted in enumerate(accepts):
        for path, values in accepted.items():
            for value in values:
                holders[path][value].add(number)
    free = {path: {n for n, accepted in enumerate(accepts) if path not in accepted} for path in holders}
    everyone = list(range(len(policies)))
    for accepted in accepts:
        if not accepted:
            yield everyone
            continue
        path = max(accepted, key=lambda each: len(holders[each]))
        yield sorted(free[path].union(*(holders[path][value] for value in accepted[path])))


def _accepted(policy: Policy) -> dict[str, frozenset[object]]:
    conditions = [clause.condition for clause in policy.when.all]
    return {each.path.text: each.accepts for each in conditions if each.accepts is not None}


def _tie(directory: Directory, one: Policy, other: Policy) -> Problem:
    source, _ = directory.policies[other.id]
    mark = source.at(("priority",)) if "priority" in source.data else source.at(("id",))
    differs = ", ".join(name for name in Then.__slots__ if getattr(one.then, name) != getattr(other.then, name))
    what = f"{one.id} and {other.id} have the same band, action and priority, and differ in {differs}"
    return _problem(source, mark, "PW703", what, "give the one that shall win a higher priority", Level.ERROR)


# --- what the tests show --------------------------------------------------------------------------------------------


def _unseen(directory: Directory, policies: Sequence[Policy]) -> Iterator[Problem]:
    """Policies that never match, and conditions that the tests never see both ways; a policy's own tests come first."""
    tests = {name: [Readings(facts) for facts in _situations(directory, name)] for name in directory.policies}
    plain = [Readings(fixture.facts) for fixture in directory.fixtures.values() if fixture is not None]
    for policy in policies:

        def seen(own: str = policy.id) -> Iterator[Readings]:
            return chain(tests[own], chain.from_iterable(found for name, found in tests.items() if name != own))

        if not any(policy.when.judge(readings) is Truth.TRUE for readings in chain(seen(), plain)):
            source, mark = _at_id(directory, policy)
            hint = "add a fixture, or a test that sets what it speaks for"
            yield _problem(source, mark, "PW704", f"no fixture or test makes {policy.id} match", hint)
        yield from _uncovered(directory, policy, seen)


def _situations(directory: Directory, name: str) -> Iterator[dict[str, object]]:
    for test in directory.policies[name][1].tests:
        fixture = directory.fixtures[test.event]
        try:
            found = situation(fixture, test.set, test.unset) if fixture else None
        except LookupError:
            continue  # the test itself fails and says so
        if found:
            yield found.facts


def _uncovered(directory: Directory, policy: Policy, seen: Callable[[], Iterator[Readings]]) -> Iterator[Problem]:
    source, _ = directory.policies[policy.id]
    for where, clause in _clauses(policy):
        for truth in (Truth.TRUE, Truth.FALSE):
            if not any(readings.truth(clause.condition) is truth for readings in seen()):
                what = f"no test sees {_said(clause.condition)} {truth.value}"
                yield _problem(source, source.at_key(where), "PW705", what, f"add a test where it is {truth.value}")


def _clauses(policy: Policy) -> Iterator[tuple[Location, Clause]]:
    """The conditions that stand in the file, each with its place."""
    for group in GROUPS:
        for number, clause in enumerate(getattr(policy.when, group)):
            if clause.line is not None:
                yield ("when", group, number), clause


# --- what depends on the day ----------------------------------------------------------------------------------------


def _ending(directory: Directory, enforced: Sequence[Policy], now: datetime) -> Iterator[Problem]:
    for policy in enforced:
        ends = policy.expires
        if policy.then.action is Action.EXEMPT and ends is not None and now < ends <= now + SOON:
            source, _ = directory.policies[policy.id]
            what = f"the exemption ends at {format_moment(ends)}: its nodes are then judged like any other"
            mark = source.at(("then", "until"))
            yield _problem(source, mark, "PW706", what, "have it approved again, or get the nodes ready")
