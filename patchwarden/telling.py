"""Telling: an explanation as a person reads it, the answer first, on a terminal however narrow."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from rich.text import Text

from chalicelib.core.chain import canonical
from chalicelib.core.moments import parse_moment
from patchwarden import output

_MARGIN = 10
"""Columns of the word on the left; what is said stands beside it."""

_STYLES = {
    "won": "bold green", "lost": "yellow", "held": "bold yellow", "unknown": "bold red", "shadow": "magenta",
    "no": "dim", "ended": "dim", "off": "dim", "ok": "green",
}  # fmt: skip
_ORDER = ("won", "held", "unknown", "lost", "shadow", "no", "ended", "off")
"""What decides stands first; within one result the rank decides."""

_MUCH = 160
"""Characters of what was found; a list of patches is long."""

Line = tuple[str, str]
"""A word for the margin, which may be empty, and what is said."""


def show(told: Mapping[str, Any], *, verbose: bool = False) -> None:
    """Print an explanation to standard output."""
    say(lines(told, verbose=verbose))


def say(said: Iterable[Line]) -> None:
    """Print lines to standard output, as wide as the terminal is."""
    console = output.console()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for word, line in laid_out(said, width):
        console.print(Text.assemble((word, _STYLES.get(word.strip(), "bold")), line), soft_wrap=True)


def lines(told: Mapping[str, Any], *, verbose: bool = False) -> Iterator[Line]:
    """What was decided and when it may run, about what, and then each policy; `verbose` spares no condition."""
    if told.get("state"):
        yield from _stands(told)
    if told.get("ignored_because"):
        yield "IGNORED", told["ignored_because"]
    if told.get("closed_because"):
        yield "", told["closed_because"]
    if told.get("decision"):
        yield from _decided(told)
    if told.get("recorded"):
        yield from _recorded(told["recorded"])
    if told["finding"]:
        yield from _about(told)
    yield from trace((told.get("decision") or told).get("policies") or [], verbose=verbose)


def trace(policies: Iterable[Mapping[str, Any]], *, verbose: bool = False) -> Iterator[Line]:
    """Each policy with its conditions: of those that say no only the conditions that do, unless `verbose`."""
    for policy in sorted(policies, key=lambda one: _ORDER.index(one["result"])):
        yield "", ""
        yield policy["result"], f"{policy['policy']}  {policy['band']} {policy['action']}  {policy['origin']}"
        short = policy["result"] == "no" and not verbose
        denying = [one for one in policy["conditions"] if one["answer"] == "no" and one["group"] != "any"]
        if not (short and denying):
            yield "", policy["because"]
        for condition in denying if short and denying else policy["conditions"]:
            yield from _condition(condition, policy["origin"].rpartition(":")[0], verbose)


def _stands(told: Mapping[str, Any]) -> Iterator[Line]:
    """Where a remediation is now, before what would be decided if it were asked again."""
    due = f", next {told['due']}" if told["due"] else ""
    yield "STATE", f"{told['state']} since {told['since']}{due}"
    yield "", told["because"]
    if told["held"]:
        yield "held", told["held_because"] or told["held"]
    if told["paused"]:
        scope = told["paused"]["scope"]
        what = "nothing" if scope == "all" else f"nothing of {scope.replace('/', ' ')}"
        yield "PAUSED", f"{what} starts: {told['paused']['by']}: {told['paused']['reason']}"
    yield "", ""


def _decided(told: Mapping[str, Any]) -> Iterator[Line]:
    decision = told["decision"]
    head = f"{decision['action'] or 'nothing new'} ({decision['cause']})"
    if decision["next"]:
        head += f", next {decision['next']} ({_until(decision['next'], told['now'])})"
    yield "DECISION", head
    yield "", decision["because"]


def _recorded(recorded: Mapping[str, Any]) -> Iterator[Line]:
    verdict = "the same" if recorded["same"] else "ANOTHER ANSWER"
    yield "recorded", f"{verdict}: {recorded['action'] or 'nothing new'} ({recorded['cause']}) at {recorded['at']}"
    yield "", recorded["because"]
    yield "", f"{recorded['id']}, set {(recorded['set'] or 'none')[:12]}"


def _about(told: Mapping[str, Any]) -> Iterator[Line]:
    finding = told["finding"]
    yield "", ""
    yield "node", f"{finding['account']}/{finding['region']}/{finding['node']}"
    says = "compliant" if finding["compliant"] else "non-compliant"
    by = "asked again" if told["source"] == "again" else f"by {told['source']}"
    yield "finding", f"{finding['control']} {says}, seen {finding['observed_at']}, {by}"
    if told.get("now"):
        yield "asked", f"at {told['now']} of set {told['set'][:12]}"


def _condition(condition: Mapping[str, Any], file: str, verbose: bool) -> Iterator[Line]:
    """One condition: what it asks, then what was found and where the question stands."""
    group = "" if condition["group"] == "all" else f"{condition['group']}: "
    wanted = f"{condition['operator']} {canonical(condition['wanted'])}"
    yield f"  {condition['answer']}", f"{group}{condition['path']} {wanted}"
    found = condition["why"] or f"found {output.plain(condition['found'])}"
    if len(found) > _MUCH and not verbose:
        found = f"{found[:_MUCH]}… (-v shows all)"
    place = f"{file}:{condition['line']}" if condition["line"] else "follows from the action"
    yield "", f"  {found}  {place}"


def _until(moment: str, now: str) -> str:
    left: timedelta = parse_moment(moment) - parse_moment(now)
    if left <= timedelta():
        return "now"
    days, seconds = left.days, left.seconds
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if days:
        return f"in {days}d {hours}h"
    return f"in {hours}h {minutes}m" if hours else f"in {minutes}m"


def laid_out(said: Iterable[Line], width: int | None) -> Iterator[Line]:
    """Lines no longer than `width` (None: as long as they are); a path or an id is never broken."""
    for word, line in said:
        indent = " " * (2 if line.startswith("  ") else 0)
        room = 10_000 if width is None else max(width - _MARGIN, 20)
        parts = textwrap.wrap(output.plain(line.strip()), room - len(indent), break_long_words=False,
                              break_on_hyphens=False) or [""]  # fmt: skip
        for number, part in enumerate(parts):
            margin = (word if number == 0 else "").ljust(_MARGIN) if part else ""
            yield margin, f"{indent}{part}"
