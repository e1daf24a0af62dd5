"""Wave: open the waves of a rollout one after the other, and stop it where too much of one fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib import guard
from chalicelib.core.errors import Stale
from chalicelib.core.guards import Held
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import Policy, PolicySet
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Remediation
from chalicelib.core.surges import as_of
from chalicelib.core.waves import MOST_OPEN, Count, Progress, Wave
from chalicelib.ports import Ports


@dataclass(frozen=True, slots=True)
class Outlook:
    """A rollout as it stands, and how the open wave fares so far."""

    progress: Progress
    line: Entry
    count: Count
    version: int


def name_of(policy: Policy) -> str:
    """One rollout is one policy at one digest: a change of the policy begins anew."""
    return f"{policy.id}/{policy.digest[:12]}"


def hold(
    ports: Ports, policies: PolicySet, cases: Iterable[Remediation], busy: frozenset[str],
    stuck: frozenset[str] = frozenset(),
) -> tuple[list[Remediation], list[Held]]:  # fmt: skip
    """Part the cases into those whose wave is open and those that wait for it; `busy` are queued or in work.

    Who is `stuck` cannot start whatever the wave says: its wave waits for it, and counts it neither as failed nor as
    verified. It is never chosen for a count. What another set than this round's has decided may have waves that this
    round does not know: it waits for the next, which looks with that set.
    """
    rolled = {policy.id: policy for policy in policies.policies if policy.then.waves}
    free, held, by_policy = list[Remediation](), list[Held](), defaultdict[str, list[Remediation]](list)
    for case in cases:
        policy = policies.policy(str(case.decision.get("policy")))
        if policy is not None and case.decision.get("policy_digest") == policy.digest:
            (by_policy[policy.id] if policy.id in rolled else free).append(case)
        elif case.decision.get("set_digest") == policies.digest:
            free.append(case)
        else:
            held.append(
                _held(case, "a policy set was published in the middle of this round: the next one looks with it")
            )
    for name, members in sorted(by_policy.items()):
        if all(case.id in stuck for case in members):
            continue
        let, kept = _rolled(ports, rolled[name], members, busy, stuck)
        free += let
        held += kept
    return free, held


def _rolled(
    ports: Ports, policy: Policy, cases: Sequence[Remediation], busy: frozenset[str], stuck: frozenset[str]
) -> tuple[list[Remediation], list[Held]]:
    """What of one policy may start. Whoever loses a race to another round starts nothing of it in this one."""
    waves = policy.then.waves
    try:
        line = _begun(ports, policy, cases, stuck)
        progress = Progress.from_json(line.value)
        mine = [case for case in cases if progress.mine(case)]
        older = [case for case in cases if not progress.mine(case)]
        if progress.last(waves) and progress.stopped is None:
            return list(cases), []
        view = _moved(ports, waves, _looked(ports, line, busy), mine, stuck)
        progress = view.progress
        if progress.stopped is not None:
            return older, [_held(case, progress.stopped, told=guard.tripped(view.line)) for case in mine]
        if progress.last(waves):
            return list(cases), []
        # who is stuck comes last, and takes nobody's place among those that are remembered
        let, waiting = _tracked(ports, waves, view, sorted(mine, key=lambda case: case.id in stuck))
    except Stale:
        return [], [_held(case, "another round of dispatch moves the rollout on at this moment") for case in cases]
    because = f"{policy.id}: {_told(progress, waves)} {_waits_for(view, waves, ports.clock.now())}"
    return older + let, [_held(case, because) for case in waiting]


def _told(progress: Progress, waves: tuple[Wave, ...]) -> str:
    return f"wave {progress.wave + 1} of {len(waves)} ({waves[progress.wave]})"


def _held(case: Remediation, because: str, *, told: bool = False) -> Held:
    return Held(case, "wave", because, told=told)


def _waits_for(view: Outlook, waves: tuple[Wave, ...], now: datetime) -> str:
    done = view.progress.done
    if done:
        return f"is verified and soaks until {format_moment(done + waves[view.progress.wave].soak)}"
    return f"is open: {view.count.verified} verified, {view.count.failed} failed, {len(view.count.open)} in work"


def _begun(ports: Ports, policy: Policy, cases: Sequence[Remediation], stuck: frozenset[str]) -> Entry:
    """The rollout's newest entry. After its last wave has opened, what is found from then on is another rollout."""
    subject, now = subject_of(Kind.ROLLOUT, name_of(policy)), ports.clock.now()
    last = ports.ledger.entry(subject)
    progress = Progress.from_json(last.value) if last else None
    if last and progress:
        if not progress.last(policy.then.waves) or progress.stopped is not None:
            return last
        later = any(case.first_seen and case.first_seen > progress.begun for case in cases)
        if not later:
            return last
    free = progress.begun if progress else None
    number = progress.number + 1 if progress else 1
    fresh = Progress(policy.id, policy.digest, number, now, len(policy.then.waves), free=free)
    fresh = fresh.pick([case for case in cases if fresh.mine(case)], policy.then.waves, stuck=stuck)
    because = f"{policy.id}: {policy.title}: {len(policy.then.waves)} waves, the first is {policy.then.waves[0]}"
    line = entry(last, subject, "began", because=because, actor="patchwarden", now=now, value=fresh.to_json())
    ports.ledger.enter(line)
    ports.notices.say("rollout", rollout=line.name, what="began", because=because)
    return line


def _looked(ports: Ports, line: Entry, busy: frozenset[str]) -> Outlook:
    """How the members that are neither queued nor in work any more have fared."""
    progress = Progress.from_json(line.value)
    kept = ports.ledger.kept(line.subject)
    before = Count.of(kept.value if kept else None, progress)
    ended = [id for id in before.open if id not in busy]
    version = kept.version if kept else 0
    if not ended:
        return Outlook(progress, line, before, version)
    told = replace(before, open={id: before.open[id] for id in ended}).after(ports.ledger.heads(ended))
    still = {id: end for id, end in before.open.items() if id in busy or id in told.open}
    count = replace(told, open=still)
    if count == before:
        return Outlook(progress, line, before, version)
    ports.ledger.keep(line.subject, count.to_json(), expected=version)
    return Outlook(progress, line, count, version + 1)


def _moved(
    ports: Ports, waves: tuple[Wave, ...], view: Outlook, cases: Sequence[Remediation], stuck: frozenset[str]
) -> Outlook:
    """The rollout after what this round knows: stopped, verified, or with the next wave open."""
    for _ in range(2 * len(waves)):
        after = _step(ports, waves, view, cases, stuck)
        if after is None:
            return view
        view = after
    return view


def _step(
    ports: Ports, waves: tuple[Wave, ...], view: Outlook, cases: Sequence[Remediation], stuck: frozenset[str]
) -> Outlook | None:
    progress, count, now = view.progress, view.count, ports.clock.now()
    if progress.stopped is not None and view.line.value.get("superseded"):
        return _stopped(ports, view, cases, f"{progress.stopped}; the policy came back as it was")
    if progress.stopped is not None or progress.last(waves):
        return None
    wave, told = waves[progress.wave], _told(progress, waves)
    failed = count.failed - progress.forgiven
    if failed > wave.max_errors:
        because = (
            f"{progress.policy}: {counted(failed, 'node')} of {told} failed, its error budget is {wave.max_errors}"
        )
        return _stopped(ports, view, cases, because)
    if progress.done:
        if now < progress.done + wave.soak:
            return None
        return _opened(ports, view, progress.opens(now), f"{told} is verified and has soaked: the next one opens")
    # whoever has the wave's tag and has started is no longer among the cases: nobody needs to stand in for it
    tagged = wave.tag is not None and bool(count.open or count.verified or count.failed)
    picked = progress if tagged else progress.pick(cases, waves, count.passed, stuck)
    if picked != progress:
        return _written(ports, view, picked, "picked", f"{told}: its nodes are chosen")
    if count.open or any(_waited_for(progress, waves, count, case) for case in cases):
        return None
    if count.verified:
        because = f"{told} is verified: {counted(count.verified, 'node')} by a fresh scan, {count.failed} failed"
        if wave.soak:
            because += f"; it soaks until {format_moment(now + wave.soak)}, then the next one opens"
        return _written(ports, view, replace(progress, done=now), "verified", because)
    if failed > 0 or count.passed:
        return _stopped(ports, view, cases, f"{progress.policy}: no node of {told} could be verified")
    return _opened(ports, view, progress.opens(now), f"{told} has no node: the next one opens")


def _waited_for(progress: Progress, waves: tuple[Wave, ...], count: Count, case: Remediation) -> bool:
    """Whether the open wave is not over without the case: it is of an earlier one, or has a place in this one."""
    at = progress.of(case, waves)
    return at < progress.wave or (at == progress.wave and _most(waves[at], progress, count, case) > 0)


def _written(ports: Ports, view: Outlook, progress: Progress, what: str, because: str) -> Outlook:
    kept = {name: view.line.value[name] for name in _OF_TICKET if name in view.line.value}
    line = guard.write(ports, view.line, what, because, {**kept, **progress.to_json()})
    return replace(view, progress=progress, line=line)


_OF_TICKET = ("ticket", "incident", "location")


def _opened(ports: Ports, view: Outlook, progress: Progress, because: str) -> Outlook:
    after = _written(ports, view, progress, f"opened wave {progress.wave + 1}", because)
    ports.notices.say("rollout", rollout=view.line.name, what="opened", because=because)
    return replace(after, count=Count(progress.number, progress.wave))


def _stopped(ports: Ports, view: Outlook, cases: Sequence[Remediation], because: str) -> Outlook:
    progress = replace(view.progress, stopped=because)
    line = guard.trip(ports, view.line, view.line.subject, because, location=str(cases[0].location),
                      value=progress.to_json())  # fmt: skip
    return replace(view, progress=Progress.from_json(line.value), line=line)


def _tracked(
    ports: Ports, waves: tuple[Wave, ...], view: Outlook, cases: Sequence[Remediation]
) -> tuple[list[Remediation], list[Remediation]]:
    """Remember who of the open wave starts before anybody does; what cannot be remembered waits."""
    progress, open_ones = view.progress, dict(view.count.open)
    let, waiting = list[Remediation](), list[Remediation]()
    for case in cases:
        if progress.of(case, waves) > progress.wave and open_ones.get(case.id) == as_of(case):
            del open_ones[case.id]  # chosen once, and replaced before it could start
    for case in cases:
        at = progress.of(case, waves)
        room = case.id in open_ones or len(open_ones) < _most(waves[progress.wave], progress, view.count, case)
        if at > progress.wave or (at == progress.wave and not room):
            waiting.append(case)
            continue
        if at == progress.wave:
            open_ones.setdefault(case.id, as_of(case))
        let.append(case)
    if open_ones != view.count.open:
        count = replace(view.count, open=open_ones)
        ports.ledger.keep(view.line.subject, count.to_json(), expected=view.version)
    return let, waiting


def _most(wave: Wave, progress: Progress, count: Count, case: Remediation) -> int:
    """How many of the wave may be in work, if the case is one of them.

    Who was chosen for a count, left the queue and was replaced may come back: it waits for the next wave then.
    """
    if case.id not in progress.picked:
        return MOST_OPEN
    return (wave.nodes or 1) - count.verified


def resume(ports: Ports, line: Entry, because: str, actor: str) -> Entry:
    """Let a stopped rollout go on; what has failed in its open wave so far is forgiven. Stale: somebody was first."""
    progress = Progress.from_json(line.value)
    kept = ports.ledger.kept(line.subject)
    count = Count.of(kept.value if kept else None, progress)
    waves_on = replace(progress, stopped=None, forgiven=count.failed, done=progress.done or _proved(ports, count))
    told = {name: line.value[name] for name in _OF_TICKET if name in line.value}
    written = guard.write(ports, line, "resumed", because, {**told, **waves_on.to_json()}, actor)
    ports.notices.say("guard_released", guard=line.name, because=because, by=actor)
    return written


def _proved(ports: Ports, count: Count) -> datetime | None:
    """A person who resumes a wave in which nobody is in work takes it as proved."""
    return None if count.open else ports.clock.now()


def stop(ports: Ports, line: Entry, because: str, actor: str) -> Entry:
    """Stop a rollout by hand: no notice and no ticket, since a person knows. Stale: somebody was first."""
    progress = replace(Progress.from_json(line.value), stopped=f"stopped by {actor}: {because}")
    told = {name: line.value[name] for name in _OF_TICKET if name in line.value}
    written = guard.write(ports, line, "stopped", because, {**told, **progress.to_json(), "tripped": False}, actor)
    return written


def supersede(ports: Ports, policies: PolicySet) -> None:
    """A stopped rollout of a policy that was changed is over, and its ticket is resolved.

    Should the policy come back as it was, it holds again, with a ticket of its own.
    """
    current = {name_of(policy) for policy in policies.policies if policy.then.waves}
    for line in ports.ledger.subjects(Kind.ROLLOUT):
        if guard.tripped(line) and line.name not in current:
            told: Mapping[str, object] = {**line.value, "tripped": False, "superseded": True}
            try:
                guard.write(ports, line, "superseded", "the policy was changed or removed", dict(told))
            except Stale:
                continue
