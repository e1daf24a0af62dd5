"""Stops: what surges, waves and error budgets must hold, checked at every step against what really happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chalicelib import guard
from chalicelib.core.findings import Control
from chalicelib.core.journal import Entry, Kind, fault
from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import ACTIVE, Cause, Remediation, State
from chalicelib.core.surges import Reach
from chalicelib.core.waves import Progress
from chalicelib.ports import Change, Ledger
from patchwarden.simulate.executions import Run
from patchwarden.simulate.rules import SURGE
from patchwarden.simulate.tickets import WorldTickets
from patchwarden.simulate.world import World

IN_FLIGHT = 60.0
"""A round of dispatch that began before a guard tripped may go on for so many seconds."""


class Stops:
    """The promises of the guards of a policy set; `say` takes a broken one in one sentence."""

    def __init__(self, world: World, ledger: Ledger, policies: PolicySet, say: Callable[[str], None]) -> None:
        self._world, self._ledger, self._say = world, ledger, say
        self._policies = self._stands = policies
        self._held: dict[str, float] = {}
        self._canaries: dict[str, int] = {}
        self._chosen: dict[str, set[str]] = {}
        self._started: dict[str, set[str]] = {}
        self._waves: dict[str, list[tuple[float, Progress]]] = {}
        self._crossed: float | None = None
        self._surged = False

    def switched(self, policies: PolicySet) -> None:
        """Another set decides from now on: what is a surge is asked of it anew."""
        self._stands, self._crossed = policies, None

    @property
    def _now(self) -> float:
        return self._world.now

    def after(self, call: str, given: Change | Entry) -> None:
        """A line of a trail, or an entry of the journal, has just been written."""
        if isinstance(given, Entry):
            self._entered(given)
        elif given.line.cause is Cause.QUEUED:
            self._queued()
        elif given.line.cause is Cause.INTENDED:
            self._intended(given.head)

    def _entered(self, line: Entry) -> None:
        if line.kind is Kind.ROLLOUT:
            self._moved(line)
        if "canaries" in line.value:
            self._chosen.setdefault(line.subject, set()).update(line.value["canaries"])
        if line.what == "tripped":
            self._held[line.subject] = self._now
            self._canaries[line.subject] = max(len(line.value.get("canaries", ())), SURGE["canary"])
            self._started[line.subject] = set()
            self._surged = self._surged or "/surge/" in line.subject
        elif not line.value.get("tripped"):
            self._held.pop(line.subject, None)

    def _queued(self) -> None:
        """Whether so much waits or runs now that a surge must be seen by the next round of dispatch."""
        if self._crossed is None and not self._surged:
            cases = list(self._ledger.work([State.QUEUED, *ACTIVE]))
            if any(self._many({case.node for case in some}, share) for some, share in self._counted(cases)):
                self._crossed = self._now

    def _counted(self, cases: list[Remediation]) -> Iterator[tuple[list[Remediation], int]]:
        """What is counted together, and the most of the fleet that it may be, in percent."""
        ceilings = self._stands.settings.surge
        if ceilings is None:
            return
        yield cases, ceilings.fleet
        for policy in self._stands.policies:
            if policy.then.limits.surge:
                yield [case for case in cases if case.decision.get("policy") == policy.id], policy.then.limits.surge
        if ceilings.same:
            # there is but one patch in this world
            lacking = [case for case in cases if case.control is Control.PATCH and case.decision.get("missing")]
            yield lacking, ceilings.same

    def _many(self, nodes: set[Node], share: int) -> bool:
        return len(nodes) >= SURGE["at_least"] and len(nodes) * 100 > share * len(self._world.machines)

    def _intended(self, case: Remediation) -> None:
        accounts = (case.decision.get("budget") or {}).get("accounts", ())
        for subject in (f"guard/budget/{account}" for account in accounts):
            if self._now - self._held.get(subject, self._now) > IN_FLIGHT:
                self._say(f"overspent: {case.id} is about to start, but {subject} tripped long before")
        policy = self._policies.policy(str(case.decision.get("policy")))
        moves = self._waves.get(f"rollout/{policy.id}/{policy.digest[:12]}", []) if policy else []
        if policy and policy.then.waves and case.decision.get("policy_digest") == policy.digest:
            recent = [progress for at, progress in moves[:-1] if self._now - at < IN_FLIGHT]
            stood = recent + [progress for _, progress in moves[-2:]]
            if not any(not one.mine(case) or one.of(case, policy.then.waves) <= one.wave for one in stood):
                self._say(f"waves: {case.id} is about to start before its wave is open")

    def _moved(self, line: Entry) -> None:
        """A wave is only opened when one node of the one before is verified, or none of it was ever started."""
        if "wave" not in line.value:
            return
        progress = Progress.from_json(line.value)
        before = self._waves.setdefault(line.subject, [])
        last = before[-1][1] if before else None
        before.append((self._now, progress))
        if last is None or last.number != progress.number or last.wave >= progress.wave or last.stopped:
            return
        policy = self._policies.policy(progress.policy)
        assert policy is not None, f"{line.subject} is of no policy"
        began = min(at for at, one in before if one.number == progress.number)
        members = [
            case for case in self._ledger.all_heads()
            if case.decision.get("policy") == policy.id and last.mine(case)
            and last.of(case, policy.then.waves) == last.wave
        ]  # fmt: skip
        fates = [self._fate(case, began) for case in members]
        resumed = any(one.what == "resumed" for one in self._ledger.entries(line.subject))
        if "started" in fates and "verified" not in fates and not resumed:
            self._say(f"waves: {line.subject} opens wave {progress.wave + 1}, and nobody of the one before is verified")

    def _fate(self, case: Remediation, began: float) -> str:
        """Whether an execution of the case began since then, and whether a scan proved it."""
        fate = "idle"
        for run in self._world.runs.values():
            if run.began >= began and any(member.remediation == case.id for member in run.batch.members):
                fate = "started"
        lines = self._ledger.trail(case.id)
        proved = any(line.cause is Cause.RESOLVED for line in lines)
        return "verified" if fate == "started" and proved else fate

    def begins(self, run: Run, remediation: str, said: float) -> None:
        """A member of an execution starts in Systems Manager's own truth; its intent was written at `said`."""
        if self._crossed is not None and not self._surged and said - self._crossed > IN_FLIGHT:
            self._say(f"surged: {remediation} starts at {self._now:.1f} s, and no guard has seen the surge")
        case = self._ledger.head(remediation)
        for subject, since in self._held.items():
            reach = _reach(subject)
            if reach is None or said - since <= IN_FLIGHT or case is None or not reach.holds(case):
                continue
            started = self._started[subject]
            started.add(remediation)
            there = [id for id in started if not (self._gone(id) or self._spared(id) or self._passes(id, reach))]
            if len(there) > self._canaries[subject]:
                self._say(f"surged: {len(there)} nodes start while {subject} holds, {self._canaries[subject]} may")

    def _passes(self, id: str, reach: Reach) -> bool:
        """Whether it is the canary of a guard of the other sort: those of places and those of policies pass."""
        others = [ids for subject, ids in self._chosen.items()
                  if (other := _reach(subject)) and (other.policy is None) is not (reach.policy is None)]  # fmt: skip
        return any(id in ids for ids in others)

    def _spared(self, remediation: str) -> bool:
        """Whether nothing that started ever came to the node, and somebody else has fixed it: it proves nothing."""
        head = self._ledger.head(remediation)
        if head is None or head.state is not State.RESOLVED:
            return False
        runs = (run for run in self._world.runs.values() if head.node in run.nodes)
        said = (run.installs.get(head.node.id) for run in runs)
        return all(one is not None and one.status == "Undeliverable" for one in said)

    def _gone(self, remediation: str) -> bool:
        head = self._ledger.head(remediation)
        return head is None or self._world.machines[head.node].state == "terminated"

    def judge(self, tickets: WorldTickets) -> None:
        """At the end: every journal is whole, and each incident that holds something has one open ticket."""
        holds: dict[str, bool] = {}
        for line in (one for kind in guard.KINDS for one in self._ledger.subjects(kind)):
            wrong = fault(line, self._ledger.entries(line.subject))
            if wrong:
                self._say(f"chain: {wrong}")
            if "incident" in line.value:
                key = guard.key_of(line)
                holds[key] = holds.get(key, False) or guard.tripped(line)
        for key in {slip.key for slip in tickets.kept.values() if "/incident/" in slip.key} | set(holds):
            opened = sum(slip.open for slip in tickets.kept.values() if slip.key == key)
            wanted = int(holds.get(key, False))
            if opened != wanted:
                self._say(f"tickets: {key} has {opened} open tickets at the end, and should have {wanted}")


def _reach(subject: str) -> Reach | None:
    """What a surge guard holds, by the subject of its journal; None: it is a guard of another kind."""
    name = subject.removeprefix("guard/surge/")
    return None if name == subject else Reach.of(name)
