"""Cases: remediations as lists show them, their trails, and why they wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from chalicelib.core.chain import link
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node, parse_node, spelled
from chalicelib.core.remediations import WAITS, Remediation, State, Transition
from chalicelib.ports import Ledger


def summary(case: Remediation) -> dict[str, Any]:
    """A remediation as lists show it."""
    return {
        "id": case.id,
        "account": case.node.account,
        "region": case.node.region,
        "node": case.node.id,
        "control": case.control.value,
        "state": case.state.value,
        "since": text_of(case.since),
        "first_seen": text_of(case.first_seen),
        "due": text_of(case.due),
        "attempts": case.attempts,
        "cools_until": text_of(case.cools_until),
        "policy": case.decision.get("policy"),
        "ticket": case.ticket,
        "execution": case.execution,
        "held": case.held,
        "because": case.because,
    }


def remediations(ledger: Ledger, *, state: State | None, limit: int, after: str | None) -> dict[str, Any]:
    """One page of remediations, the next to move first, and the cursor of the next page (None: this was the last).

    The cursor is the last one's turn. A page reads about one page from each partition, however many there are; a
    remediation that moves while somebody turns pages may be met twice, or not at all.
    """
    page = ledger.page([state] if state else list(State), after=after, limit=limit + 1)
    return {"schema_version": 1, "remediations": [summary(case) for case in page[:limit]],
            "next": page[limit - 1].turn if len(page) > limit else None}  # fmt: skip


def remediation(ledger: Ledger, identity: str) -> dict[str, Any] | None:
    """One remediation with its whole trail, or None."""
    case = ledger.head(identity)
    if case is None:
        return None
    return {**summary(case), "decision": dict(case.decision), "plan": dict(case.plan),
            "trail": [line.to_json() for line in ledger.trail(identity)]}  # fmt: skip


def trail(ledger: Ledger, node: Node) -> list[Transition]:
    """Every line about one node, whatever the control, in order of time."""
    lines = [line for control in Control for line in ledger.trail(remediation_id(node, control))]
    return sorted(lines, key=lambda line: (line.at, line.remediation, line.number))


def nodes(ledger: Ledger, text: str) -> list[Node]:
    """The nodes that a person may mean: by `account/region/id` however it is spelled, or by the bare id.

    Only an id that the ledger has no name for is looked for among all: one that is not there, or older than its names.
    """
    wanted = spelled(text)
    whole = parse_node(wanted) if wanted.count("/") == 2 else None
    ids = [remediation_id(whole, control) for control in Control] if whole else [wanted]
    found = {case.node for case in ledger.heads(ids).values()}
    if not found and "/" not in wanted and "." not in wanted:
        found = {case.node for case in ledger.heads(ledger.named(wanted)).values()}
        found = found or {case.node for case in ledger.all_heads() if case.node.id == wanted}
    return sorted(found)


def near(ledger: Ledger, text: str) -> list[str]:
    """Up to three known nodes whose names are close to the text."""
    from difflib import get_close_matches  # costs a cold start that hardly ever needs it

    known = {case.node.id: str(case.node) for case in ledger.all_heads()}
    return [known[name] for name in get_close_matches(text.strip().rsplit("/", 1)[-1], known, n=3, cutoff=0.6)]


LATELY = 14
"""How many days back the last change of a state is looked for."""


def decided(ledger: Ledger, now: datetime, *, policy: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """Summaries of what moved last, by the last change of its state; `policy`: only what it decides now.

    It reads `LOOKED_AT` lines of the last `LATELY` days at most.
    """
    moved = dict.fromkeys(line.remediation for line in islice(lately(ledger, now), LOOKED_AT) if moves(line))
    found, ids = list[Remediation](), iter(moved)
    while len(found) < limit and (some := list(islice(ids, limit))):
        heads = ledger.heads(some)
        found += [heads[one] for one in some if one in heads and policy in (None, heads[one].decision.get("policy"))]
    return [summary(case) for case in found[:limit]]


def lately(ledger: Ledger, now: datetime) -> Iterator[Transition]:
    """The lines of the last days, the newest first."""
    return (line for back in range(LATELY) for line in ledger.newest(now.date() - timedelta(days=back)))


def moves(line: Transition) -> bool:
    """Whether the line changed a state, or is the first."""
    return line.before is not line.after or line.number == 1


DONE = (State.RESOLVED, State.GONE)


UNDECIDED = "nothing is decided yet: no scan proves what was heard of the node, see its trail"


def waits(case: Remediation, now: datetime | None = None) -> dict[str, Any]:
    """Why it is not being remediated: `{id, account, region, node, control, state, since, reason, next, who, ticket}`.

    `next` is the next moment something may happen by itself, None: nothing does before somebody acts or news comes,
    such as the end of what holds it; `who` is whose turn it is: `patchwarden` or `person`.
    """
    overdue = case.held is not None and now is not None and case.due is not None and case.due <= now
    person = case.state in (State.TICKETED, State.OPEN)
    told = case.because or UNDECIDED  # a case that only has notes so far
    reason = f"held by {case.held}: {told}" if case.held else told
    return {
        "id": case.id, "account": case.node.account, "region": case.node.region, "node": case.node.id,
        "control": case.control.value, "state": case.state.value,
        "since": format_moment(case.since) if case.since else None, "reason": reason,
        "next": format_moment(case.due) if case.due and not overdue else None,
        "who": "person" if person else "patchwarden",
        "policy": case.decision.get("policy"), "ticket": case.ticket,
    }  # fmt: skip


LOOKED_AT = 5_000
"""How many remediations one filtered page reads at most; its `next` goes on from there."""


def whynot(
    ledger: Ledger, now: datetime, *, states: Sequence[State] = WAITS, limit: int = 50, after: str | None = None,
    account: str | None = None, policy: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that is not being remediated now, the next to move first.

    `{schema_version, at, remediations: [waits()], next}`; `next` is the last turn of the page. A filtered page reads at
    most about `LOOKED_AT`, so one with few rows may have a `next`.
    """
    found, turn = fitting(ledger, states, limit, after, lambda case: fits(case, account, policy))
    return {"schema_version": 1, "at": format_moment(now), "remediations": [waits(case, now) for case in found],
            "next": turn}  # fmt: skip


def fits(case: Remediation, account: str | None, policy: str | None) -> bool:
    """Whether it is of that account, and decided by that policy; None: whatever it is."""
    return account in (None, case.node.account) and policy in (None, case.decision.get("policy"))


def fitting(
    ledger: Ledger, states: Sequence[State], limit: int, after: str | None, fits: Callable[[Remediation], bool]
) -> tuple[list[Remediation], str | None]:
    """One page of those that fit, and the turn to go on from; None: these were the last."""
    found, turn, looked = list[Remediation](), after, 0
    while len(found) <= limit and looked < LOOKED_AT:
        page = ledger.page(states, after=turn, limit=limit + 1)
        found += [case for case in page if fits(case)]
        turn, looked = page[-1].turn if len(page) > limit else None, looked + len(page)
        if turn is None:
            break
    return found[:limit], found[limit - 1].turn if len(found) > limit else turn


def intact(lines: list[Transition]) -> bool:
    """Whether the lines' own hashes hold, for the badge beside a single trail."""
    return all(link(line.previous, line.to_json()) == line.hash for line in lines)


def text_of(moment: datetime | None) -> str | None:
    """The moment as our answers spell it, or None."""
    return format_moment(moment) if moment else None
