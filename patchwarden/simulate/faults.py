"""Faults: what may go wrong at an outside call, and how often in a run of one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from chalicelib.core.errors import Barred, Temporary

HOUR = 3600.0


class Fault(StrEnum):
    """`killed`: the invocation ends there. `lost`: the effect happened, the answer did not come. `repeated`: the
    client's own retry brought the request twice. `stale`: the answer is that of some seconds ago."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    LOST = "answer lost"
    THROTTLED = "throttled"
    DENIED = "denied"
    STALE = "stale read"
    REPEATED = "repeated"


UPGRADED = "upgraded"
"""What the report counts beside the faults: seeds in which this release took over from an older one."""


class Killed(BaseException):
    """The invocation was ended from outside; nothing of ours may catch it."""


RAISED_BEFORE: Mapping[Fault, type[BaseException]] = {
    Fault.KILLED_BEFORE: Killed,
    Fault.THROTTLED: Temporary,
    Fault.DENIED: Barred,
}
RAISED_AFTER: Mapping[Fault, type[BaseException]] = {Fault.KILLED_AFTER: Killed, Fault.LOST: Temporary}

EVERYWHERE = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.LOST, Fault.THROTTLED)
_STALE = {
    "ledger.work", "ledger.open_batches", "ledger.batches_since", "ledger.errands",
    "inventory.nodes", "inventory.patch_states", "inventory.members", "automations.find",
    "automations.patching",
}  # fmt: skip
_REPEATED = {"ledger.append", "ledger.save_batch", "automations.start", "tickets.open", "tickets.resolve"}


def possible(call: str) -> tuple[Fault, ...]:
    """The faults that the call may meet; `call` is port and method, such as `automations.start`.

    The table lies in our own account, so it denies nothing, and its reads of single items are strongly consistent.
    """
    denied = () if call.startswith("ledger.") else (Fault.DENIED,)
    stale = (Fault.STALE,) if call in _STALE else ()
    repeated = (Fault.REPEATED,) if call in _REPEATED else ()
    return EVERYWHERE + denied + stale + repeated


@dataclass(frozen=True, slots=True)
class Profile:
    """From what the weather of a seed is drawn: the highest rate of each fault per call, and the choices of the rest.

    Seconds throughout. `redriven`: how late an event may come the second time. `skew`: how far an invocation's clock
    may be off. `tokens`: how long Systems Manager remembers a ClientToken, None for ever. `outages`: how long the
    ticket system is down. `guarded`: the share of seeds whose policies have a surge guard, waves and error budgets.
    `upgrades`: the share of the other seeds in whose middle this release takes over what an older one left. `alarms`,
    `silences`: the shares of the rest in which an emergency begins, and in which silent agents are ticketed.
    `readings`: the share of all seeds in which people read the reports in the middle of it all; `hands`: in which
    others patch some of the nodes; `claims`: in which events call associations compliant that stay broken. `chaos`: how
    long things go wrong; with `eases` it is drawn between the two, so that calm comes at any moment of the work.
    """

    rates: Mapping[Fault, float] = field(default_factory=dict, hash=False)
    dropped: tuple[float, ...] = (0.0,)
    statuses_dropped: tuple[float, ...] = (0.0,)
    doubled: float = 0.0
    redriven: float = HOUR
    late: float = 0.0
    skew: float = 0.0
    tokens: tuple[float | None, ...] = (None,)
    tag_lags: tuple[float, ...] = (0.0,)
    scan_lags: tuple[float, ...] = (0.0,)
    overlapping: float = 0.0
    stalls: float = 0.0
    outages: tuple[float, ...] = (0.0,)
    switches: float = 0.0
    troubles: float = 0.0
    rules: float = 0.0
    guarded: float = 0.0
    upgrades: float = 0.0
    alarms: float = 0.0
    silences: float = 0.0
    readings: float = 0.0
    hands: float = 0.0
    claims: float = 0.0
    chaos: float = 1.5 * HOUR
    eases: float | None = None


_RATES = {
    Fault.KILLED_BEFORE: 0.01, Fault.KILLED_AFTER: 0.01, Fault.LOST: 0.02, Fault.THROTTLED: 0.03,
    Fault.DENIED: 0.004, Fault.STALE: 0.2, Fault.REPEATED: 0.1,
}  # fmt: skip
_CALM = Profile(troubles=0.1, rules=0.2)
_EVENTS = replace(_CALM, dropped=(0.0, 0.03, 1.0), statuses_dropped=(0.0, 0.03, 1.0), doubled=0.2, late=0.1)
_CRASHES = replace(_CALM, rates={**_RATES, Fault.STALE: 0.0}, overlapping=0.2, stalls=0.01)
_TOKENS = replace(_CRASHES, tokens=(0.0, 60.0, 600.0, None), tag_lags=(0.0, 5.0, 30.0))
_MIXED = Profile(
    rates=_RATES, dropped=(0.0, 0.03, 1.0), statuses_dropped=(0.0, 0.03, 1.0), doubled=0.1, late=0.1, skew=600.0,
    tokens=(0.0, 60.0, 600.0, None), tag_lags=(0.0, 5.0, 30.0), scan_lags=(0.0, 2.0, 60.0), overlapping=0.3,
    stalls=0.01, outages=(0.0,) * 14 + (24 * HOUR,), switches=0.3, troubles=0.2, rules=0.2, guarded=0.25, upgrades=0.2,
    alarms=0.2, silences=0.2, readings=0.3, hands=0.2, claims=0.2, eases=0.5 * HOUR,
)  # fmt: skip

PROFILES: Mapping[str, Profile] = {
    "none": Profile(),
    "nodes": replace(_CALM, troubles=0.4),
    "events": _EVENTS,
    "crashes": _CRASHES,
    "tokens": _TOKENS,
    "skew": replace(_CRASHES, skew=600.0),
    "tickets": replace(_CRASHES, outages=(24 * HOUR,)),
    "policies": replace(_CRASHES, switches=1.0),
    "guards": replace(_CRASHES, guarded=1.0),
    "upgrades": replace(_CRASHES, upgrades=1.0),
    "alarms": replace(_CRASHES, alarms=1.0, silences=0.5),
    "readings": replace(_CRASHES, readings=1.0, guarded=0.25, upgrades=0.25, alarms=0.5, skew=600.0),
    "hands": replace(_CRASHES, hands=1.0, claims=1.0, guarded=0.25, skew=600.0),
    "races": replace(
        _MIXED,
        rates={Fault.STALE: 0.4, Fault.THROTTLED: 0.03},
        overlapping=1.0,
        stalls=0.05,
        guarded=0.0,
        alarms=0.5,
        hands=0.0,
        claims=0.0,
    ),
    "mixed": _MIXED,
}


@dataclass(slots=True)
class Weather:
    """One seed's draw from a profile; `chosen` are faults at calls of a given number instead of by chance.

    `chaos`: how long things go wrong; afterwards everything works but a ticket system that is down for longer.
    """

    profile: Profile
    random: Random
    chosen: Mapping[int, Fault] | None = None
    rates: dict[Fault, float] = field(default_factory=dict)
    dropped: float = 0.0
    status_dropped: float = 0.0
    token_kept: float | None = None
    tag_lag: float = 0.0
    scan_lag: float = 0.0
    skewed: bool = False
    outage: float = 0.0
    chaos: float = 0.0
    calm: bool = False
    _tables: dict[str, list[tuple[float, Fault]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pick, profile = self.random.choice, self.profile
        scale = {fault: pick((0.0, 0.3, 1.0)) for fault in Fault}
        self.rates = {fault: scale[fault] * profile.rates.get(fault, 0.0) for fault in Fault}
        self.dropped, self.status_dropped = pick(profile.dropped), pick(profile.statuses_dropped)
        self.token_kept = pick(profile.tokens)
        self.tag_lag, self.scan_lag = pick(profile.tag_lags), pick(profile.scan_lags)
        self.skewed = bool(profile.skew) and pick((False, True))
        self.outage = pick(profile.outages)
        self.chaos = profile.chaos if profile.eases is None else self.random.uniform(profile.eases, profile.chaos)

    def fault(self, number: int, call: str) -> Fault | None:
        """What goes wrong at this call."""
        if self.chosen is not None:
            found = self.chosen.get(number)
            return found if found in possible(call) else None
        if self.calm:
            return None
        drawn = self.random.random()
        for limit, fault in self._tables.get(call) or self._table(call):
            if drawn < limit:
                return fault
        return None

    def _table(self, call: str) -> list[tuple[float, Fault]]:
        limit, table = 0.0, []
        for fault in possible(call):
            limit += self._rate(call, fault)
            table.append((limit, fault))
        self._tables[call] = table
        return table

    def _rate(self, call: str, fault: Fault) -> float:
        """A client that retries on its own cannot be asked of a service that remembers no token at all."""
        if call == "automations.start" and fault is Fault.REPEATED and self.token_kept == 0.0:
            return 0.0
        return self.rates[fault]

    def latency(self) -> float:
        if self.chosen is not None:
            return 0.05
        drawn = self.random.random()
        if drawn < self.profile.stalls and not self.calm:
            return 10 * self.random.random()
        return 0.005 + drawn / 10

    def skew(self) -> float:
        return self.random.uniform(-self.profile.skew, self.profile.skew) if self.skewed and not self.calm else 0.0

    def lag(self) -> float:
        """How old a stale answer is."""
        return self.random.uniform(1.0, 30.0)
