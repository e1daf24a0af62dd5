"""Expecting: whether the tests inside a policy file can be run, and show enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from patchwarden.policy import fields, set_shapes, shapes
from patchwarden.policy.fitting import piece
from patchwarden.policy.fixtures import Fixture, steps_of
from patchwarden.policy.problems import near, near_or_all
from patchwarden.policy.source import Source


def check_tests(
    source: Source, rules: set_shapes.SetFile | None, fixtures: Mapping[str, Fixture | None], ids: Mapping[str, Any]
) -> None:
    """Every problem of the tests of one policy file. `ids` are those of all policies."""
    raw = source.data.get("tests", [])
    if not isinstance(raw, list):
        return
    for number, item in enumerate(raw):
        test = piece(shapes.Test, item)
        if test is not None:
            _check_fixture(source, number, test, fixtures)
            _check_expected(source, number, test, ids, rules)
            _check_changes(source, number, test)
    if rules is not None:
        _check_enough(source, raw, rules)


def _check_fixture(source: Source, number: int, test: shapes.Test, fixtures: Mapping[str, Fixture | None]) -> None:
    where = ("tests", number, "event")
    if test.event not in fixtures:
        hint = near_or_all(test.event, fixtures) if fixtures else "put it into the directory fixtures"
        source.add("PW603", where, f"there is no fixture {test.event!r}", hint)


def _check_expected(
    source: Source, number: int, test: shapes.Test, ids: Mapping[str, Any], rules: set_shapes.SetFile | None
) -> None:
    where = ("tests", number, "expect")
    for field in ("policy", "shadow"):
        name = getattr(test.expect, field)
        if name is not None and name not in (fields.NOBODY, *ids):
            source.add("PW605", (*where, field), f"there is no policy {name!r}", near(name, ids))
    for place, name in enumerate(test.expect.also_matched or ()):
        if name not in ids:
            source.add("PW605", (*where, "also_matched", place), f"there is no policy {name!r}", near(name, ids))
    window = test.expect.window
    if rules is not None and window is not None and window not in (fields.NOBODY, *rules.windows):
        source.add("PW605", (*where, "window"), f"there is no window {window!r}", near(window, rules.windows))


def _check_changes(source: Source, number: int, test: shapes.Test) -> None:
    hint = "name it whole, without [*] or a filter"
    for text in test.set:
        if steps_of(text) is None:
            source.add_at_key("PW606", ("tests", number, "set", text), f"{text} is not the path of a fact", hint)
    for place, text in enumerate(test.unset):
        if steps_of(text) is None:
            source.add("PW606", ("tests", number, "unset", place), f"{text} is not the path of a fact", hint)


def _check_enough(source: Source, tests: list[Any], rules: set_shapes.SetFile) -> None:
    where = ("tests",) if tests else ()
    if len(tests) < rules.tests.at_least:
        what = f"{len(tests)} of at least {rules.tests.at_least} tests"
        source.add_at_key("PW601", where, what, "add one where the policy decides, and one where it does not")
        return
    shown = set(_outcomes(source.data, tests))
    for outcome, hint in _OUTCOMES.items():
        if rules.tests.both_outcomes and outcome not in shown:
            what = f"no test shows the policy {'deciding' if outcome else 'leaving a finding alone'}"
            source.add_at_key("PW602", where, what, hint.format(**{"id": source.data.get("id"), **_field(source.data)}))


_OUTCOMES = {
    True: "add a test with expect: {{…, {field}: {id}}}",
    False: "add a test that expects another policy, or policy: none",
}


def _field(data: Mapping[str, Any]) -> dict[str, str]:
    return {"field": "shadow" if data.get("mode") == "shadow" else "policy"}


def _outcomes(data: Mapping[str, Any], tests: list[Any]) -> Iterator[bool]:
    """True for a test in which this policy decides (or, in shadow, matches), False for one in which it does not."""
    then = data.get("then")
    action = then.get("action") if isinstance(then, dict) else None
    field = _field(data)["field"]
    for test in tests:
        expect = test.get("expect") if isinstance(test, dict) else None
        if not isinstance(expect, dict):
            continue
        if field in expect:
            yield expect[field] == data.get("id")
        elif field == "policy" and expect.get("action") != action:
            yield False
