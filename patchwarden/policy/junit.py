"""JUnit: the results of policy tests as the XML that build servers read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from patchwarden import output
from patchwarden.policy.problems import Level, Problem
from patchwarden.policy.testing import Result
from patchwarden.telling import laid_out, trace


def write(file: Path, results: Sequence[Result], problems: Sequence[Problem] = ()) -> None:
    """A suite for each policy, and one for the problems that keep the tests from running, to the file."""
    suites = list(_suites(results, [problem for problem in problems if problem.level is Level.ERROR]))
    counts = {name: str(sum(int(suite.get(name, 0)) for suite in suites)) for name in ("tests", "failures", "errors")}
    root = Element("testsuites", {"name": "patchwarden policies", **counts})
    root.extend(suites)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _suites(results: Sequence[Result], errors: Sequence[Problem]) -> Iterator[Element]:
    for name, group in groupby(results, key=lambda result: result.policy):
        listed = list(group)
        failed = sum(not result.passed for result in listed)
        suite = _suite(name, len(listed), failures=failed)
        for result in listed:
            case = _case(suite, name, result.name, result.file, result.line)
            if not result.passed:
                _add(case, "failure", "PW607", "; ".join(result.differences), _told(result))
        yield suite
    if errors:
        suite = _suite("files", len(errors), errors=len(errors))
        for problem in errors:
            case = _case(suite, problem.file, f"{problem.code} at {problem.line}", problem.file, problem.line)
            _add(case, "error", problem.code, problem.what, problem.text())
        yield suite


def _suite(name: str, tests: int, *, failures: int = 0, errors: int = 0) -> Element:
    return Element("testsuite", {"name": name, "tests": str(tests), "failures": str(failures), "errors": str(errors),
                                 "skipped": "0"})  # fmt: skip


def _case(suite: Element, classname: str, name: str, file: str, line: int) -> Element:
    return SubElement(suite, "testcase", {"classname": output.plain(classname), "name": output.plain(name),
                                          "file": file, "line": str(line)})  # fmt: skip


def _add(case: Element, kind: str, code: str, message: str, text: str) -> None:
    SubElement(case, kind, {"type": code, "message": output.plain(message)}).text = text


def _told(result: Result) -> str:
    lines = (f"{word}{line}".rstrip() for word, line in laid_out(trace(result.trace), None))
    return "\n".join([output.plain(result.text()), *lines])
