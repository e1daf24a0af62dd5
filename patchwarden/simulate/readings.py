"""Readings: what people are shown in the middle of a run, held against what was written and what really runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from chalicelib import history, lookup
from chalicelib.core.errors import Temporary
from chalicelib.core.remediations import WAITS, State, Transition
from chalicelib.past import FromLedger
from chalicelib.ports import Ledger, Ports
from chalicelib.proof import verify
from patchwarden.simulate.executions import Run
from patchwarden.simulate.history import Watch
from patchwarden.simulate.moments import moment
from patchwarden.simulate.visit import DEFECTS

READ = "report read"
"""What the report counts beside the faults."""

EVERYTHING = 5000


def ask(ports: Ports) -> None:
    """What the pages and `patchwarden status` ask; none of it may raise but what its own calls do."""
    now = ports.clock.now()
    lookup.status(ports.ledger, now)
    lookup.executions(ports)
    lookup.policies(ports)
    lookup.approvals(ports)
    lookup.whynot(ports.ledger, now)
    lookup.decided(ports.ledger, now)


def wrong(
    ledger: Ledger, now: datetime, then: datetime, newest: Mapping[str, Transition], runs: Mapping[str, Run]
) -> Iterator[str]:
    """What is shown and is not so. `newest` are the lines that were written last, by remediation; `then` is a moment
    of the past that is asked about; `runs` are the executions in Systems Manager's own truth."""
    status = lookup.status(ledger, now)
    stands = {id: line.after for id, line in newest.items()}
    if status["states"] != _counted(stands.values()):
        yield f"shown: the status counts {status['states']}, and what was written {_counted(stands.values())}"
    listed = {one["execution"] for one in status["executions"]} - {None}
    for id in sorted(listed - runs.keys()):
        yield f"shown: the status lists execution {id}, which Systems Manager does not know"
    for run in runs.values():
        batch = ledger.batch(run.batch.id)
        if run.ended is None and batch and batch.execution == run.id and run.id not in listed:
            yield f"shown: execution {run.id} runs, and the status does not list it"
    rows = {row["id"]: row for row in lookup.whynot(ledger, now, limit=EVERYTHING)["remediations"]}
    if rows.keys() != {id for id, state in stands.items() if state in WAITS}:
        yield f"shown: {len(rows)} are listed as not being remediated, and others are"
    if silent := [id for id, row in rows.items() if not row["reason"]]:
        yield f"shown: nobody says why {silent[0]} is not being remediated"
    found = history.fleet(FromLedger(ledger, remember=True), then, limit=1)["states"]
    was = _counted(state for id in newest if (state := _state_at(ledger, id, then)))
    if found != was:
        yield f"shown: the fleet was {found} then, and by the trails {was}"
    for fault in verify(ledger, now).faults:
        yield f"shown: an audit in the middle finds {fault}"


def judge(ledger: Ledger, watch: Watch, swept: float | None) -> None:
    """What is shown at a standstill, where all must be so. `swept`: when the last sweep came to its end."""
    world = watch.world
    now, skew = world.now, timedelta(seconds=world.weather.profile.skew + 1)
    try:
        for sentence in wrong(ledger, moment(now), moment(now * 0.7), watch.newest, world.runs):
            watch.say(sentence)
        green = too_green(ledger, moment(now), moment(swept) if swept is not None else None, skew)
    except Temporary:
        return
    except DEFECTS as error:
        green = f"a reader died of {type(error).__name__}: {error}"
    if green:
        watch.say(green)


def too_green(ledger: Ledger, now: datetime, swept: datetime | None, skew: timedelta) -> str | None:
    """That an old picture is shown as a fresh one: the last sweep that came to its end is too long ago."""
    old = swept is None or now - swept > lookup.STALE + skew
    if not old or lookup.status(ledger, now)["fresh"]["stale"]:
        return None
    return f"shown: the last sweep ended at {swept}, and the status of {now} calls that fresh"


def _counted(states: Iterable[State]) -> dict[str, int]:
    return dict(sorted(Counter(state.value for state in states).items()))


def _state_at(ledger: Ledger, remediation: str, at: datetime) -> State | None:
    return next((line.after for line in reversed(ledger.trail(remediation)) if line.at <= at), None)
