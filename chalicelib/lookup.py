"""Look-up: the answers to people's questions; CLI, REST and pages all ask here. It only reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from chalicelib import guard
from chalicelib.core.approvals import asks, standing
from chalicelib.core.budgets import account_of_policy, used
from chalicelib.core.chain import link
from chalicelib.core.english import in_words
from chalicelib.core.errors import PolicyError
from chalicelib.core.failures import kind_of_failure
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Node, parse_node, spelled
from chalicelib.core.pauses import ALL, Pause
from chalicelib.core.plans import Batch
from chalicelib.core.policies import Policy
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import WAITS, Remediation, State, Transition
from chalicelib.core.waves import Count, Progress
from chalicelib.fleet import LAST
from chalicelib.isolate import Degraded, degraded
from chalicelib.pause import HELD, in_force
from chalicelib.ports import SWEPT, Ledger, Ports

MOST = 200
"""The largest page."""

LISTED = 20
"""How many rows each list of the status holds."""


def summary(case: Remediation) -> dict[str, Any]:
    """A remediation as lists show it."""
    return {
        "id": case.id,
        "account": case.node.account,
        "region": case.node.region,
        "node": case.node.id,
        "control": case.control.value,
        "state": case.state.value,
        "since": _text(case.since),
        "first_seen": _text(case.first_seen),
        "due": _text(case.due),
        "attempts": case.attempts,
        "cools_until": _text(case.cools_until),
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


_LISTED = (State.WAITING, State.QUEUED, State.TICKETED)


def status(ledger: Ledger, now: datetime) -> dict[str, Any]:
    """What is happening now: counts by state, what runs, what waits longest, what is stuck.

    The lists of remediations hold `LISTED` rows at most; `totals` counts what each is the beginning of.
    """
    counts, pauses, aside = ledger.counts(), in_force(ledger, now), degraded(ledger)
    queued = list(ledger.work([State.QUEUED])) if pauses or aside else []
    return {
        "at": format_moment(now),
        "paused": next((pause.to_json() for pause in pauses if pause.scope == ALL), None),
        "pauses": [_pause(pause, queued) for pause in pauses],
        "degraded": [_account(one, queued) for one in aside.values()],
        "states": {state.value: counts[state] for state in sorted(counts)},
        "executions": [
            {"execution": batch.execution, "location": str(batch.location), "nodes": len(batch.members),
             "state": batch.state.value, "since": format_moment(batch.created_at)}
            for batch in ledger.open_batches()
        ],
        **{state.value: [summary(case) for case in ledger.page([state], after=None, limit=LISTED)]
           for state in _LISTED},
        "totals": {state.value: counts.get(state, 0) for state in _LISTED},
        "held": _held(ledger.held(), pauses),
        "guards": guards(ledger),
        "rollouts": [one for one in rollouts(ledger) if one["stands"] not in ("finished", "superseded")],
        "errands": len(ledger.errands(datetime.max.replace(tzinfo=now.tzinfo))),
        "fresh": _fresh(ledger, now),
        "sweep": last_sweep(ledger),
    }  # fmt: skip


STALE = timedelta(minutes=45)
"""A sweep comes every quarter of an hour: after three that did not, nobody knows what the fleet is like."""


def _fresh(ledger: Ledger, now: datetime) -> dict[str, Any]:
    """How old the answer may be: `{swept, moved, stale}`; the last sweep's end, the last change of a state, and
    whether the former is too long ago, or not known."""
    kept = ledger.kept(SWEPT)
    swept = parse_moment(str(kept.value["at"])) if kept else None
    moved = _moved(ledger, now)
    return {"swept": _text(swept), "moved": _text(moved), "stale": swept is None or now - swept > STALE}


LATELY = 14
"""How many days back the last change of a state is looked for."""


def _moved(ledger: Ledger, now: datetime) -> datetime | None:
    """The newest line that changed a state; None: none did lately."""
    return next((line.at for line in _lately(ledger, now) if _moves(line)), None)


def policies(ports: Ports) -> dict[str, Any]:
    """What the policies say and do now, in rank order; a PolicyError is told, not raised.

    `{set, trouble, policies: [{policy, band, mode, title, words, owner, digest, decides, would}], shadows: [{policy,
    action, real_policy, real_action, remediations}]}`. `decides` counts the open remediations that it decides, `would`
    those that it would decide if it were no shadow; `shadows` holds what it would do against what is done.
    """
    try:
        active = ports.policies.active()
    except PolicyError as error:
        return {"set": None, "trouble": str(error), "policies": [], "shadows": []}
    cases = list(ports.ledger.work([state for state in State if state not in _DONE]))
    decides = Counter(str(case.decision.get("policy")) for case in cases)
    pairs = Counter(
        (str(one["policy"]), str(one["action"]), case.decision.get("policy"), case.decision.get("action"))
        for case in cases for one in case.decision.get("shadows", ())
    )  # fmt: skip
    would = Counter(str(one["policy"]) for case in cases for one in case.decision.get("shadows", ()))
    names = ("policy", "action", "real_policy", "real_action")
    return {
        "set": active.digest, "trouble": ports.policies.trouble(),
        "policies": [
            {"policy": one.id, "band": one.band.value, "mode": one.mode.value, "title": one.title,
             "words": in_words(one), "owner": one.owner, "digest": one.digest, "decides": decides[one.id],
             "would": would[one.id]} for one in active.policies
        ],
        "shadows": [{**dict(zip(names, pair, strict=True)), "remediations": count}
                    for pair, count in sorted(pairs.items(), key=lambda row: (-row[1], *map(str, row[0])))],
    }  # fmt: skip


def decided(ledger: Ledger, now: datetime, *, policy: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """Summaries of what moved last, by the last change of its state; `policy`: only what it decides now.

    It reads `LOOKED_AT` lines of the last `LATELY` days at most.
    """
    moved = dict.fromkeys(line.remediation for line in islice(_lately(ledger, now), LOOKED_AT) if _moves(line))
    found, ids = list[Remediation](), iter(moved)
    while len(found) < limit and (some := list(islice(ids, limit))):
        heads = ledger.heads(some)
        found += [heads[one] for one in some if one in heads and policy in (None, heads[one].decision.get("policy"))]
    return [summary(case) for case in found[:limit]]


def _lately(ledger: Ledger, now: datetime) -> Iterator[Transition]:
    """The lines of the last days, the newest first."""
    return (line for back in range(LATELY) for line in ledger.newest(now.date() - timedelta(days=back)))


def _moves(line: Transition) -> bool:
    return line.before is not line.after or line.number == 1


def last_sweep(ledger: Ledger) -> dict[str, Any] | None:
    """What the last whole pass over the fleet found; None: no pass has come to its end yet."""
    kept = ledger.kept(LAST)
    if kept is None:
        return None
    told = {name: kept.value[name] for name in ("number", "began", "ended", "places", "missed", "drift", "stale")}
    return {**told, "late": len(kept.value["late"]), "degraded": len(kept.value["degraded"])}


def approvals(ports: Ports) -> list[dict[str, Any]]:
    """What waits for somebody's yes, the one that ends first at the head.

    A summary of each, with `until`, `title`, `minimum`, `by` (globs of who may; [] is anybody) and `given`
    (`{"by", "at", "because"}`).
    """
    cases = [case for case in ports.ledger.work([State.TICKETED]) if asks(case.decision)]
    try:
        policies = ports.policies.active()
    except PolicyError:
        return []
    return [_approval(case, policies.policy(str(case.decision["policy"]))) for case in cases]


def _approval(case: Remediation, policy: Policy | None) -> dict[str, Any]:
    wanted = policy.then.approval if policy else None
    given = standing(case.decision, policy.digest if policy else "")
    return {
        **summary(case),
        "title": policy.title if policy else None,
        "until": case.decision["ask_until"],
        "minimum": wanted.minimum if wanted else None,
        "by": list(wanted.by) if wanted else [],
        "given": [{name: one[name] for name in ("by", "at", "because")} for one in given],
    }


_DONE = (State.RESOLVED, State.GONE)
_TRIED = (State.QUEUED, State.WAITING, State.TICKETED)


def executions(ports: Ports) -> dict[str, Any]:
    """What runs now, how full each place is, and of what kind the failures are that are still being worked on.

    `{"at", "executions": [{"execution", "location", "document", "policies", "nodes", "proved", "verifying", "running",
    "other", "since", "seconds"}], "places": [{"location", "executions", "limit", "queued"}], "budgets": [{"policy",
    "failures", "ended", "limit", "max", "within", "spent"}], "failures": [{"kind", "remediations", "example"}]}`. The
    first `limit` is None while no policy set loads; `within` is seconds.
    """
    now, ledger = ports.clock.now(), ports.ledger
    batches = ledger.open_batches()
    queued = Counter(str(case.location) for case in ledger.work([State.QUEUED]))
    running = Counter(str(batch.location) for batch in batches)
    try:
        limit: int | None = ports.policies.active().settings.executions_per_location
    except PolicyError:
        limit = None
    failed = [case for case in ledger.work(_TRIED) if case.attempts and case.last_outcome]
    kinds = Counter(kind_of_failure(str(case.last_outcome)) for case in failed)
    examples = {kind_of_failure(str(case.last_outcome)): case for case in reversed(failed)}
    return {
        "at": format_moment(now),
        "executions": [_flying(ledger, batch, now) for batch in batches],
        "places": [
            {"location": place, "executions": running[place], "limit": limit, "queued": queued[place]}
            for place in sorted(running.keys() | queued.keys(), key=lambda name: (-running[name], -queued[name], name))
        ],
        "budgets": list(_budgets(ports, now)),
        "failures": [
            {"kind": kind, "remediations": count, "example": examples[kind].node.id,
             "because": examples[kind].last_outcome}
            for kind, count in kinds.most_common()
        ],
    }  # fmt: skip


def _budgets(ports: Ports, now: datetime) -> Iterator[dict[str, Any]]:
    """How much of its error budget each policy that has one has used; nothing while no policy set loads."""
    try:
        policies = ports.policies.active().policies
    except PolicyError:
        return
    for policy in policies:
        budget = policy.then.limits.error_budget
        if budget:
            name = f"budget/{account_of_policy(policy.id, policy.digest)}"
            kept, last = ports.ledger.kept(name), ports.ledger.entry(subject_of(Kind.GUARD, name))
            wanted = {"max": budget.max_failures, "within": int(budget.within.total_seconds())}
            failures, ended, limit = used(kept.value if kept else {}, wanted, now, guard.released_at(last))
            yield {"policy": policy.id, "failures": failures, "ended": ended, "limit": limit, **wanted,
                   "spent": guard.tripped(last)}  # fmt: skip


def _flying(ledger: Ledger, batch: Batch, now: datetime) -> dict[str, Any]:
    """One execution in flight, with how far its members are."""
    heads = ledger.heads([member.remediation for member in batch.members]).values()
    states = Counter(case.state for case in heads if case.batch == batch.id)
    proved = sum(states[state] for state in _DONE)
    busy = states[State.STARTING] + states[State.RUNNING]
    began = batch.started_at or batch.created_at
    return {
        "execution": batch.execution,
        "state": batch.state.value,
        "location": str(batch.location),
        "document": batch.document,
        "policies": sorted({member.policy for member in batch.members}),
        "nodes": len(batch.members),
        "proved": proved,
        "verifying": states[State.VERIFYING],
        "running": busy,
        "other": len(batch.members) - proved - states[State.VERIFYING] - busy,
        "since": format_moment(began),
        "seconds": round((now - began).total_seconds()),
    }


def _pause(pause: Pause, queued: list[Remediation]) -> dict[str, Any]:
    """A pause, and how many queued remediations it holds."""
    return {**pause.to_json(), "holds": sum(pause.holds(case) for case in queued)}


def refusing(ledger: Ledger) -> list[dict[str, Any]]:
    """The accounts that refuse us, each with how many queued remediations wait for it."""
    found = degraded(ledger)
    queued = list(ledger.work([State.QUEUED])) if found else []
    return [_account(one, queued) for one in found.values()]


def _account(one: Degraded, queued: list[Remediation]) -> dict[str, Any]:
    """An account that refuses us, and how many queued remediations wait for it."""
    waits = sum(case.node.account == one.account for case in queued)
    return {**one.to_json(), "holds": waits}


def _held(cases: Iterable[Remediation], pauses: tuple[Pause, ...]) -> dict[str, int]:
    """How many each guard holds. What a pause held stays marked until it starts, and is counted only while one does."""
    holding = (case.held for case in cases
               if case.held and (case.held != HELD or any(pause.holds(case) for pause in pauses)))  # fmt: skip
    return dict(sorted(Counter(holding).items()))


UNDECIDED = "nothing is decided yet: no scan proves what was heard of the node, see its trail"


def waits(case: Remediation) -> dict[str, Any]:
    """Why it is not being remediated: `{id, account, region, node, control, state, since, reason, next, who, ticket}`.

    `next` is the next moment something may happen by itself, None: nothing does before somebody acts or news comes;
    `who` is whose turn it is: `patchwarden` or `person`.
    """
    person = case.state in (State.TICKETED, State.OPEN)
    told = case.because or UNDECIDED  # a case that only has notes so far
    reason = f"{case.held}: {told}" if case.held else told
    return {
        "id": case.id, "account": case.node.account, "region": case.node.region, "node": case.node.id,
        "control": case.control.value, "state": case.state.value,
        "since": format_moment(case.since) if case.since else None, "reason": reason,
        "next": format_moment(case.due) if case.due else None, "who": "person" if person else "patchwarden",
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
    found, turn, looked = list[Remediation](), after, 0
    while len(found) <= limit and looked < LOOKED_AT:
        page = ledger.page(states, after=turn, limit=limit + 1)
        found += [case for case in page if account in (None, case.node.account)
                  and policy in (None, case.decision.get("policy"))]  # fmt: skip
        turn, looked = page[-1].turn if len(page) > limit else None, looked + len(page)
        if turn is None:
            break
    return {"schema_version": 1, "at": format_moment(now), "remediations": [waits(case) for case in found[:limit]],
            "next": found[limit - 1].turn if len(found) > limit else turn}  # fmt: skip


def guards(ledger: Ledger, *, every: bool = False) -> list[dict[str, Any]]:
    """What each guard that tripped holds and why; with `every`, those that were released too."""
    lines = [line for line in ledger.subjects(Kind.GUARD) if every or line.value.get("tripped")]
    return [
        {"guard": line.name, "holds": bool(line.value.get("tripped")), "since": line.value.get("since"),
         "changed": format_moment(line.at), "what": line.what, "ticket": line.value.get("ticket"),
         "canaries": list(line.value.get("canaries", ())), "because": line.value.get("why") or line.because}
        for line in lines
    ]  # fmt: skip


POLICIES = "policies"
"""The kind of the lines about policy sets, which are kept beside the journal."""


def journal(
    ledger: Ledger, *, kind: str | None = None, subject: str | None = None, actor: str | None = None,
    since: datetime | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Everything done to the service itself, oldest first: the journal's entries and the publications.

    Each as `{at, subject, number, what, actor, because, value, hash}`; `subject` and `actor` are parts, in any case.
    """
    kinds = [one for one in Kind if kind in (None, one)]
    entries = [line for one in kinds for newest in ledger.subjects(one) for line in ledger.entries(newest.subject)]
    lines = [{name: value for name, value in line.to_json().items() if name != "previous"} for line in entries]
    if kind in (None, POLICIES):
        lines += [_published(line) for line in ledger.publications()]
    begin = format_moment(since) if since else ""
    return sorted(
        (line for line in lines if line["at"] >= begin and _holds(line["subject"], subject)
         and _holds(line["actor"], actor)),
        key=lambda line: (line["at"], line["subject"], line["number"]),
    )  # fmt: skip


def _published(line: Publication) -> dict[str, Any]:
    value = {"digest": line.digest, "revision": line.revision, "summary": dict(line.summary)}
    return {"at": format_moment(line.at), "subject": f"{POLICIES}/{line.digest[:12]}", "number": line.number,
            "what": line.act.value, "actor": line.by, "because": line.because, "value": value,
            "hash": line.hash}  # fmt: skip


def _holds(text: str, part: str | None) -> bool:
    return part is None or part.lower() in text.lower()


def rollouts(ledger: Ledger) -> list[dict[str, Any]]:
    """Where each rollout stands: its open wave, how that fares, and what it waits for."""
    return [_rollout(ledger, line) for line in ledger.subjects(Kind.ROLLOUT)]


def _rollout(ledger: Ledger, line: Entry) -> dict[str, Any]:
    progress = Progress.from_json(line.value)
    kept = ledger.kept(line.subject)
    count = Count.of(kept.value if kept else None, progress)
    stands = (
        "superseded" if line.what == "superseded"
        else "stopped" if progress.stopped
        else "finished" if progress.wave + 1 >= progress.waves
        else "soaking" if progress.done
        else "open"
    )  # fmt: skip
    return {"rollout": line.name, "policy": progress.policy, "number": progress.number, "stands": stands,
            "wave": progress.wave + 1, "waves": progress.waves, "begun": format_moment(progress.begun),
            "verified": count.verified, "failed": count.failed, "in_work": len(count.open),
            "ticket": line.value.get("ticket"), "because": progress.stopped or line.because}  # fmt: skip


def health(ports: Ports) -> dict[str, Any]:
    """What the service itself is like: the ledger that answers, the pause, and the policy set that decides."""
    pauses = in_force(ports.ledger, ports.clock.now())
    try:
        digest, trouble = ports.policies.active().digest, None
    except PolicyError as error:
        digest, trouble = None, f"no policy set loads: {error}"
    return {"ledger": "ok", "paused": next((pause.reason for pause in pauses if pause.scope == ALL), None),
            "pauses": [pause.to_json() for pause in pauses],
            "degraded": sorted(degraded(ports.ledger)),
            "policies": digest,
            "guards": [line.name for line in ports.ledger.subjects(Kind.GUARD) if line.value.get("tripped")],
            "policy_trouble": trouble or ports.policies.trouble()}  # fmt: skip


def intact(lines: list[Transition]) -> bool:
    """Whether the lines' own hashes hold, for the badge beside a single trail."""
    return all(link(line.previous, line.to_json()) == line.hash for line in lines)


def _text(moment: datetime | None) -> str | None:
    return format_moment(moment) if moment else None
