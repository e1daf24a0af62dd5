"""Fleet: one pass over the compliance of every place, which goes on where the last invocation ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib import guard, isolate, surge
from chalicelib.core.decided import unruled
from chalicelib.core.errors import Barred, Denied, Stale, Temporary
from chalicelib.core.findings import Control, Finding
from chalicelib.core.journal import Entry
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.reporting import reports
from chalicelib.core.surges import Place, Tally
from chalicelib.crew import MOST, all_of, each, left_alone, parts
from chalicelib.glance import glance
from chalicelib.intake import again, take
from chalicelib.ports import Kept, Page, Ports
from chalicelib.release import release

PASS, LAST = "sweep/pass", "sweep/whole"
"""Where the ledger keeps how far the pass under way has come, and what the last whole one found."""

BUDGET = timedelta(minutes=10)
"""How long one invocation takes on more places; its Lambda ends after 14 minutes."""

PER_PLACE = timedelta(minutes=2)
"""How long one place is read; it goes on there in the next pass."""

PLACES = 400
"""Places between two writes of the cursor: what a kill costs is reading these once more."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How far a pass has come: all places up to `after`, in order of their names. `late`: where places go on.

    `missed`: findings that no event had brought; `drift`: those among them that contradict the state we hold;
    `stale`: nodes that do not report. `degraded`: places that did not answer.
    """

    number: int
    began: datetime
    after: str | None = None
    late: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    places: int = 0
    findings: int = 0
    missed: int = 0
    drift: int = 0
    stale: int = 0
    degraded: tuple[str, ...] = ()
    ended: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        ended = format_moment(self.ended) if self.ended else None
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "began": format_moment(self.began), "late": dict(self.late),
                "degraded": list(self.degraded), "ended": ended}  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pass:
        ended = parse_moment(value["ended"]) if value["ended"] else None
        return cls(**{**value, "began": parse_moment(value["began"]), "degraded": tuple(value["degraded"]),
                      "ended": ended})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Place:
    location: Location
    after: str | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of one place; `late`: it is not whole, and goes on at `after`.

    `tally`: what the surge guard counts there, which is whole once the place was read to its end.
    """

    location: Location
    counts: Counter[str]
    late: bool = False
    after: str | None = None
    tally: Tally | None = None

    @property
    def place(self) -> str:
        return str(self.location)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What all places of an invocation share. `aside`: accounts that refused before, and are asked again."""

    policies: PolicySet
    until: datetime
    degraded: list[str]
    aside: Mapping[str, isolate.Degraded]


def survey(
    ports: Ports, policies: PolicySet, begun: datetime, degraded: list[str],
    aside: Mapping[str, isolate.Degraded] | None = None,
) -> Pass:  # fmt: skip
    """Hold the compliance of the fleet against the ledger, until all places are read or the time is up.

    A pass that was cut off is finished first; then a whole one begins.
    """
    how = _Survey(policies, begun + BUDGET, degraded, aside or {})
    kept = ports.ledger.kept(PASS)
    done = Pass.from_json(kept.value) if kept else Pass(0, begun, ended=begun)
    resumed = done.ended is None
    whole, version = _passed(ports, how, done if resumed else _next(done, begun), kept)
    if resumed and whole.ended and version:
        kept = Kept(whole.to_json(), version)
        whole, _ = _passed(ports, how, _next(whole, ports.clock.now()), kept)
    return whole


def _next(done: Pass, now: datetime) -> Pass:
    return Pass(done.number + 1, now, late=done.late)


def _passed(ports: Ports, how: _Survey, pass_: Pass, kept: Kept | None) -> tuple[Pass, int]:
    """The pass as far as it came, and the version under which it is kept; 0: another invocation took it over."""
    version = kept.version if kept else 0
    named = {str(location): location for location in how.policies.settings.locations}
    left = [name for name in sorted(named) if name > (pass_.after or "")]
    for names in parts(left, PLACES):
        if ports.clock.now() >= how.until:
            return pass_, version
        seen = _read(ports, how, [_Place(named[name], pass_.late.get(name)) for name in names])
        before, pass_ = pass_, _counted(pass_, names, seen, how.degraded)
        if names[-1] == left[-1]:
            pass_ = replace(pass_, ended=ports.clock.now())
        try:
            # before the cursor: who dies in between reads these places once more, and counts them then
            surge.remember(ports, {one.location: one.tally for one in seen if one.tally and one.tally.whole})
        except Temporary:
            return before, 0
        try:
            ports.ledger.keep(PASS, pass_.to_json(), expected=version)
        except (Stale, Temporary):
            return pass_, 0
        version += 1
    if pass_.ended:
        _report(ports, pass_)
    return pass_, version


def _read(ports: Ports, how: _Survey, places: Sequence[_Place]) -> list[_Seen]:
    """Read these places, and clear the exceptions that Config made there for what is compliant by now."""
    counts = _Census.of(ports, how.policies)
    seen = each(ports, places, lambda at: _answering(ports, at, how, counts), how.degraded, how.until, how.aside)
    if ports.exceptions:
        each(ports, seen, lambda one: release(ports, one.location), how.degraded, how.until, how.aside)
    return seen


@dataclass(frozen=True, slots=True)
class _Census:
    """From when on a finding is new, as the guards stood at `now`; for the places that are read next.

    What a guard lets go while they are read is counted under the old moment, so the count bears the old date too:
    the surge guard passes over a count that is older than a release.
    """

    now: datetime
    standing: Mapping[str, Entry]
    before: Mapping[str, Place]

    @classmethod
    def of(cls, ports: Ports, policies: PolicySet) -> _Census | None:
        """None: the set does not look for surges."""
        return cls(ports.clock.now(), guard.standing(ports), surge.census(ports)) if policies.settings.surge else None

    def count(self, ports: Ports, at: _Place, resumed: bool) -> Tally | None:
        """A new count, or the half one of the place where it goes on; None: it has none, so it is not counted."""
        if not resumed:
            return surge.tally(at.location, self.standing, self.now, self.before.get(str(at.location)))
        return surge.half(ports, at.location, str(at.after), self.now)


def _answering(ports: Ports, at: _Place, how: _Survey, counts: _Census | None) -> _Seen:
    """Read the place; an account that was set aside because it could not be read there is let back.

    So is one that refused a start and has nothing left to start, since no start will ever show it.
    """
    seen, known = _place(ports, at, how.policies, counts), how.aside.get(at.location.account)
    if known and known.place == str(at.location) and not (known.starting and _queued(ports, at.location.account)):
        isolate.answers(ports, at.location.account)
    return seen


def _queued(ports: Ports, account: str) -> bool:
    return any(case.node.account == account for case in ports.ledger.work([State.QUEUED]))


def _counted(pass_: Pass, names: Sequence[str], seen: Sequence[_Seen], degraded: Sequence[str]) -> Pass:
    """The pass after these places; one that was not reached, or not to its end, is late."""
    counts = sum((each.counts for each in seen), Counter[str]())
    late = {name: after for name, after in pass_.late.items() if name not in names}
    late |= {each.place: each.after for each in seen if each.late}
    silent = {name for name in names if left_alone(Location(*name.split("/")), degraded)}
    late |= dict.fromkeys(set(names) - {each.place for each in seen} - silent)
    broken = tuple(sorted({*pass_.degraded, *silent}))
    sums = {name: getattr(pass_, name) + counts[name] for name in ("findings", "missed", "drift", "stale")}
    return replace(pass_, after=names[-1], late=late, places=pass_.places + len(seen), degraded=broken, **sums)


def _report(ports: Ports, pass_: Pass) -> None:
    """Keep what the pass found, for people; a later pass overwrites it."""
    last = ports.ledger.kept(LAST)
    try:
        ports.ledger.keep(LAST, pass_.to_json(), expected=last.version if last else 0)
    except (Stale, Temporary):
        return


def _place(ports: Ports, at: _Place, policies: PolicySet, census: _Census | None = None) -> _Seen:
    """Read one place page by page, then who there does not report.

    What is cut off is no count of the place yet: it is put by, and goes on with the page that the place goes on with.
    """
    ends = ports.clock.now() + PER_PLACE
    page, resumed = _begin(ports, at)
    tally = census.count(ports, at, resumed) if census else None
    counts: Counter[str] = Counter()
    while True:
        counts += _compare(ports, at.location, page.findings, policies, tally)
        if page.next is None:
            break
        if ports.clock.now() >= ends:
            if tally:
                surge.put_by(ports, at.location, page.next, tally)
            return _Seen(at.location, counts, late=True, after=page.next)
        page = ports.inventory.compliance(at.location, page.next)
    if tally:
        tally.whole = True
        if resumed:
            surge.put_by(ports, at.location, None, tally)
    if policies.settings.stale_after:
        counts += _reporting(ports, at.location, policies, policies.settings.stale_after)
    return _Seen(at.location, counts, tally=tally)


def _begin(ports: Ports, at: _Place) -> tuple[Page, bool]:
    """The first page, and whether it goes on in the middle.

    A place to go on from is forgotten by AWS after a while: then the place begins anew.
    """
    if at.after is not None:
        try:
            return ports.inventory.compliance(at.location, at.after), True
        except Barred:
            raise
        except Denied:
            pass
    return ports.inventory.compliance(at.location, None), False


def _reporting(ports: Ports, location: Location, policies: PolicySet, stale_after: timedelta) -> Counter[str]:
    """Who does not check in, was not scanned for too long, or is not managed at all."""
    nodes = list(ports.inventory.roll(location))
    managed = [node.id for node in nodes if node.ping is not None]
    scans = ports.inventory.patch_states(location, managed) if managed else {}
    found = list(reports(location, nodes, scans, ports.clock.now(), stale_after))
    counts: Counter[str] = Counter(stale=sum(not finding.compliant for finding in found))
    for some in parts(found, MOST):
        counts += _compare(ports, location, some, policies)
    return counts


def _compare(
    ports: Ports, location: Location, findings: Sequence[Finding], policies: PolicySet, tally: Tally | None = None
) -> Counter[str]:
    """Findings that are news go through intake, after one look at all of their nodes."""
    ids = [finding.remediation for finding in findings]
    heads = ports.ledger.heads(ids)
    if tally:
        tally.add(findings, heads)
    known = [(one, id, heads.get(id)) for one, id in zip(findings, ids, strict=True)]
    news = [one for one, _, case in known if _is_news(one, case)]
    told = {one.remediation for one in news}
    anew = [case for _, id, case in known if case and id not in told and _asked_anew(case, policies.digest)]
    pairs = [(one.node, one.control) for one in news] + [(case.node, case.control) for case in anew]
    seen = glance(ports, location, pairs, policies.blocks)
    decided = all_of(ports, news, lambda one: _taken(seen, one))
    all_of(ports, anew, lambda case: again(seen, case))
    drift = sum(taken and _contradicts(one, heads.get(one.remediation))
                for one, taken in zip(news, decided, strict=True))  # fmt: skip
    return Counter(findings=len(findings), missed=sum(decided), drift=drift)


def _taken(ports: Ports, finding: Finding) -> bool:
    """Whether it changed anything; what one node's place does not answer is left for the next pass."""
    try:
        return take(ports, finding).status == "decided"
    except Barred:
        raise  # no other finding of the account would be taken either
    except (Temporary, Denied) as error:
        ports.notices.say("degraded", place=str(finding.node), because=str(error),
                          refused=isinstance(error, Denied))  # fmt: skip
        return False


def _contradicts(finding: Finding, case: Remediation | None) -> bool:
    closed = case is not None and case.state in (State.RESOLVED, State.GONE)
    return case is not None and closed is not finding.compliant


def _asked_anew(case: Remediation, digest: str) -> bool:
    """Whether a changed policy set is to be asked about it."""
    return (case.state in _ASKED or unruled(case)) and case.decision.get("set_digest") != digest


_ASKED = (State.OPEN, State.WAITING, State.EXEMPT, State.QUEUED)

_LEARNS = (State.RESOLVED, State.GONE, State.OPEN, State.WAITING, State.EXEMPT, State.QUEUED, State.REBOOT_PENDING)
"""States that a newer finding may change: the node lacks more now, or has other tags. A node that stays non-compliant
sends no event, so nobody else would say so."""


def _is_news(finding: Finding, case: Remediation | None) -> bool:
    """Whether the ledger does not know this yet. A compliant node that nobody asked about is no news."""
    if case is None:
        return not finding.compliant
    if finding.control is Control.REPORTING:
        return finding.compliant is (case.state not in (State.RESOLVED, State.GONE))
    if case.state is State.VERIFYING and finding.control is Control.ASSOCIATION:
        return finding.compliant and (case.observed_at is None or finding.observed_at > case.observed_at)
    if case.active:
        return False
    if finding.compliant:
        old = case.attempted_at is not None and finding.observed_at < case.attempted_at
        return not old and case.state not in (State.RESOLVED, State.GONE)
    return case.state in _LEARNS and (case.observed_at is None or finding.observed_at > case.observed_at)
