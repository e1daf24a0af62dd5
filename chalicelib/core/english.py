"""English: a policy as one or two sentences that somebody reads who does not read YAML."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from chalicelib.core.policies import Policy
from chalicelib.core.readings import Clause
from chalicelib.core.then import Action


def in_words(policy: Policy) -> str:
    """`When …: remediate, in window prod-saturday, at the latest 14 days after the first finding, else a ticket.`"""
    when = policy.when
    groups = [("", " and ", when.all), ("one of: ", "; ", when.any), ("none of: ", "; ", when.none)]
    told = [f"{begin}{between.join(map(_clause, clauses))}" for begin, between, clauses in groups if clauses]
    return f"When {', and '.join(told) or 'anything is found'}: {', '.join(_wants(policy))}."


def _clause(clause: Clause) -> str:
    condition = clause.condition
    every = "every " if condition.match == "all" else ""
    missing = ", or it is missing" if condition.if_missing else ""
    return f"{every}{_fact(condition.path.text)} {_holds(condition.operator, condition.operand)}{missing}"


_BLOCKS = (
    ("$.node.tags['", "the tag ", "']"),
    ("$.node.tags.", "the tag ", ""),
    ("$.patch.missing[?", "what is missing with ", "]"),
    ("$.patch.counts.", "the scan's count of ", ""),
    ("$.node.", "the node's ", ""),
    ("$.patch.", "the scan's ", ""),
    ("$.finding.", "the finding's ", ""),
    ("$.history.", "the history's ", ""),
)


def _fact(path: str) -> str:
    for begins, words, ends in _BLOCKS:
        if path.startswith(begins) and path.endswith(ends):
            rest = path.removeprefix(begins).removesuffix(ends)
            return words + (_filter(rest) if "?" in begins else rest.replace("_", " "))
    return path.removeprefix("$.")


def _filter(text: str) -> str:
    for sign, word in (("@.", ""), (" == ", " "), (" != ", " not "), (" && ", " and "), (" || ", " or ")):
        text = text.replace(sign, word)
    return text


def _holds(operator: str, operand: Any) -> str:
    if operator == "count":
        bounds = (f"{_WORDS[name].removeprefix('is ')} {value}" for name, value in operand.items())
        return "counts " + " and ".join(bounds)
    if operator in ("exists", "absent"):
        return {"exists": "is there", "absent": "is missing"}[operator]
    return f"{_WORDS[operator]} {_value(operand)}"


_WORDS = {
    "equals": "is", "not_equals": "is not", "in": "is one of", "not_in": "is none of", "gt": "is more than",
    "gte": "is at least", "lt": "is less than", "lte": "is at most", "starts_with": "starts with",
    "ends_with": "ends with", "glob": "looks like",
}  # fmt: skip


def _value(operand: Any) -> str:
    return ", ".join(map(str, operand)) if isinstance(operand, list | tuple | set | frozenset) else str(operand)


def _wants(policy: Policy) -> Iterator[str]:
    then = policy.then
    if then.action is Action.EXEMPT:
        yield f"exempt it until {policy.ends:%Y-%m-%d}" if policy.ends else "exempt it"
        yield f"reason: {then.reason}"
        return
    yield {Action.TICKET: "write a ticket", Action.OBSERVE: "only write it down",
           Action.APPROVE: "ask for a yes and then remediate", Action.REMEDIATE: "remediate"}[then.action]  # fmt: skip
    if then.action not in (Action.APPROVE, Action.REMEDIATE):
        return
    if then.approval:
        yield f"said by {then.approval.minimum} of {_value(then.approval.by) or 'those who may approve'}"
    yield f"in window {then.window}" if then.window else "at once"
    if then.deadline:
        late = {"ticket": "else a ticket", "remediate": "else outside the window"}.get(then.on_deadline, "")
        yield f"at the latest {_span(then.deadline)} after the first finding{', ' + late if late else ''}"
    if then.reboot == "never":
        yield "without a reboot"
    yield "one attempt" if then.attempts == 1 else f"{then.attempts} attempts"


def _span(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    count, word = (hours // 24, "day") if hours % 24 == 0 and hours else (hours, "hour")
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
