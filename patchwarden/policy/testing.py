"""Testing: the tests inside policy files, run against the very engine that decides in the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from chalicelib.core.conditions import Truth
from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.evaluation import Standing, evaluate
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause
from patchwarden.explaining import Question, Told, explain
from patchwarden.policy import fields, shapes
from patchwarden.policy.compile import Directory, compiled, read_directory
from patchwarden.policy.fixtures import Fixture, situation
from patchwarden.policy.source import Mark, Source


@dataclass(frozen=True, slots=True)
class Result:
    """One test: what was wanted and found where they differ, and the sentence of the decision.

    `question` is what was decided about, None where it could not be put together.
    """

    policy: str
    name: str
    file: str
    line: int
    column: int
    differences: tuple[str, ...]
    because: str
    event: str = ""
    question: Question | None = None

    @property
    def trace(self) -> list[Told]:
        """Each policy with its conditions, as `explain` tells them; worked out when it is asked for."""
        return list(explain(self.question)["decision"]["policies"]) if self.question else []

    @property
    def passed(self) -> bool:
        return not self.differences

    def text(self) -> str:
        """`file:line:column: PW607 test …: wanted and found`, or that it passed."""
        place = f"{self.file}:{self.line}:{self.column}:"
        if self.passed:
            return f"{place} passed {self.name!r}"
        return f"{place} PW607 test {self.name!r}: {'; '.join(self.differences)}: {self.because}"

    def to_json(self) -> dict[str, Any]:
        """As a problem is told, and with `passed`, `policy` and `test`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": None if self.passed else "PW607",
            "level": "error",
            "what": "; ".join(self.differences),
            "hint": self.because,
            "policy": self.policy,
            "test": self.name,
            "passed": self.passed,
        }


def run_tests(path: Path) -> list[Result]:
    """The result of every test of a directory, by file and line; none if the directory has an error."""
    directory = read_directory(path)
    return tests_of(directory, PolicySet.load(compiled(directory))) if directory.sound else []


def tests_of(directory: Directory, policies: PolicySet) -> list[Result]:
    """The tests of a directory against any set, such as a candidate for it."""
    return [
        _run(source, number, policy.id, test, directory.fixtures[test.event], policies)
        for source, policy in directory.policies.values()
        for number, test in enumerate(policy.tests)
    ]


def _run(
    source: Source, number: int, policy: str, test: shapes.Test, fixture: Fixture | None, policies: PolicySet
) -> Result:
    assert fixture is not None, "a directory with a broken fixture is not sound"
    mark = source.at_key(("tests", number))
    try:
        found = situation(fixture, test.set, test.unset)
    except LookupError:
        wrong = "set or unset names an item that the list does not have"
        return Result(policy, test.name, *_place(source, mark), (wrong,), "nothing decided", test.event)
    asked = Question(found.finding, found.case, found.facts, policies, test.now or found.finding.observed_at)
    decision = decide(asked.finding, asked.case, asked.facts, asked.policies, asked.now)
    differences = (*_differences(test.expect, decision), *_beside(test.expect, decision, asked))
    return Result(policy, test.name, *_place(source, mark), differences, decision.because, test.event, asked)


def _place(source: Source, mark: Mark) -> tuple[str, int, int]:
    return source.shown, mark.line, mark.column


def _beside(expect: shapes.Expect, decision: Decision, asked: Question) -> Iterator[str]:
    """What else was to match: each policy named must, and with [] nobody may."""
    if expect.also_matched is None:
        return
    winner = decision.sets.get("decision", {}).get("policy")
    found = [
        one.policy.id
        for one in evaluate(asked.policies, asked.facts, asked.now)
        if one.truth is Truth.TRUE and one.standing is Standing.ENFORCED and one.policy.id != winner
    ]
    if not set(expect.also_matched) <= set(found) or (found and not expect.also_matched):
        wanted = ", ".join(expect.also_matched) or fields.NOBODY
        yield f"also_matched wanted {wanted}, found {', '.join(found) or fields.NOBODY}"


def _differences(expect: shapes.Expect, decision: Decision) -> Iterator[str]:
    made: dict[str, Any] = decision.sets.get("decision", {})
    found = {
        "action": action_of(decision),
        "policy": made.get("policy") or fields.NOBODY,
        "window": made.get("window") or fields.NOBODY,
        "starts": decision.sets.get("due"),
        "wave": made["wave"] + 1 if "wave" in made else fields.NOBODY,
    }
    for name, value in found.items():
        wanted = getattr(expect, name)
        wanted = format_moment(wanted) if isinstance(wanted, datetime) else wanted
        if wanted is not None and wanted != value:
            yield f"{name} wanted {wanted}, found {value}"
    if expect.because_contains and expect.because_contains not in decision.because:
        yield f"because wanted {expect.because_contains!r}"
    shadows = [shadow["policy"] for shadow in made.get("shadows", [])] or [fields.NOBODY]
    if expect.shadow is not None and expect.shadow not in shadows:
        yield f"shadow wanted {expect.shadow}, found {', '.join(shadows)}"


_ACTIONS = {Cause.EXEMPTED: "exempt", Cause.OBSERVED: "observe", Cause.TICKETED: "ticket"}


def action_of(decision: Decision) -> str:
    """What is done in the words of a policy; the cause itself where no policy was asked."""
    made = decision.sets.get("decision", {})
    asks = decision.cause is Cause.TICKETED and made.get("action") == "approve" and not made.get("unknown")
    if asks or decision.cause in (Cause.QUEUED, Cause.DEFERRED):
        return str(made.get("action"))
    return _ACTIONS.get(decision.cause, decision.cause.value)
