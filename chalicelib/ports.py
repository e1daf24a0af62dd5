"""Ports: what the verbs ask of the world, and the bundle in which they get it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol, TypeVar

from chalicelib.core.baselines import Baseline, Seen
from chalicelib.core.courses import Course
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Finding
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.letters import Letter
from chalicelib.core.nodes import Location, Node
from chalicelib.core.occurrences import NodeRun, Run
from chalicelib.core.plans import Batch
from chalicelib.core.points import Point, Where
from chalicelib.core.policies import PolicySet
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand


@dataclass(frozen=True, slots=True)
class Change:
    """One append: the line, what the case is after it, and what is written in the same transaction.

    `take` and `give` are names of leases; the remediation's id is their holder. `done` is an errand's id.
    """

    line: Transition
    head: Remediation
    take: tuple[str, ...] = ()
    give: tuple[str, ...] = ()
    owes: Errand | None = None
    done: str | None = None

    def lost(
        self, end: tuple[int, str], holder: Callable[[str], str | None], owed: Callable[[str], bool]
    ) -> Iterator[str]:
        """What moved on before this change was written; `end` is the trail's last number and hash, or 0 and GENESIS."""
        if end != (self.line.number - 1, self.line.previous):
            yield "the line before it"
        mine = self.line.remediation
        yield from (f"lease {name}" for name in self.take if holder(name) not in (None, mine))
        yield from (f"lease {name}" for name in self.give if holder(name) != mine)
        if self.done and not owed(self.done):
            yield f"errand {self.done}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the service remembers under a name between two invocations; `version` counts its writes from 1."""

    value: Mapping[str, Any] = field(hash=False)
    version: int


SWEPT = "sweep/last"
"""Under which name the ledger keeps when a sweep came to its end: `{"at"}`."""


class Ledger(Protocol):
    """The only memory. Every write is conditional; a lost race is `Stale`, a busy store `Temporary`."""

    def head(self, remediation: str) -> Remediation | None:
        """What the trail adds up to, strongly consistent."""

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        """Many heads at once; those that do not exist are left out."""

    def trail(self, remediation: str) -> list[Transition]:
        """All lines of one remediation, first to last."""

    def append(self, change: Change) -> None:
        """Write line, head, leases and errand together, or nothing. Stale if number, lease or errand moved on.

        A change whose very line is in the trail already has been written before its answer was lost: that is success.
        """

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        """Remediations in these states, earliest `due` first; with `before`, only those due by then.

        Equal moments: the higher `decision["priority"]` first. A case without `due` comes last, never with `before`.
        """

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        """At most `limit` remediations in these states in the order of their `turn`, from behind the turn `after`.

        Reads about one page from each partition. One that moves meanwhile may be met twice, or not at all.
        """

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        """Every line stamped on one UTC day, from `since` on, in order of time, remediation and number."""

    def counts(self) -> dict[State, int]:
        """How many remediations there are in each state that has any, without reading one of them."""

    def held(self) -> Iterator[Remediation]:
        """What something keeps from starting, of all that is neither resolved nor gone."""

    def named(self, node: str) -> list[str]:
        """The ids of the remediations of all nodes that have this bare id, sorted.

        A table of an older release knows only those whose first line was written since.
        """

    def newest(self, day: date) -> Iterator[Transition]:
        """Every line stamped on one UTC day, the newest first."""

    def all_heads(self) -> Iterator[Remediation]:
        """Every remediation there is; for reports, never in the event path."""

    def lease(self, name: str) -> str | None:
        """Who holds the lease, or None."""

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        """Write the batch if its stored state is `expected` (None: if there is none yet); else Stale.

        A batch that is stored exactly so already is success. `created_at` never changes.
        """

    def batch(self, batch: str) -> Batch | None:
        """The batch, or None."""

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        """The batch that an execution serves, or None."""

    def open_batches(self) -> list[Batch]:
        """Batches that are intended or started, oldest first."""

    def batches_since(self, since: datetime) -> list[Batch]:
        """Batches created at or after `since`, whatever their state, oldest first."""

    def errands(self, before: datetime) -> list[Errand]:
        """Errands that are due by then, oldest first."""

    def postpone(self, errand: Errand) -> None:
        """Store the errand's new `due` and `tries`; Stale if it is done."""

    def active_policies(self) -> Publication | None:
        """The publication in force, strongly consistent; None: nothing was ever published."""

    def publish(self, publication: Publication) -> None:
        """Write the line and put its set in force, or neither. Stale if it does not follow from the one in force.

        A publication that is in the trail already was written before its answer was lost: that is success.
        """

    def publications(self) -> list[Publication]:
        """Every publication, first to last."""

    def entry(self, subject: str) -> Entry | None:
        """The newest entry of the subject, strongly consistent, or None."""

    def enter(self, entry: Entry) -> None:
        """Write the entry if it follows the newest one of its subject; else Stale.

        An entry that is in the journal already was written before its answer was lost: that is success.
        """

    def entries(self, subject: str) -> list[Entry]:
        """All entries of one subject, first to last."""

    def subjects(self, kind: Kind) -> list[Entry]:
        """The newest entry of every subject of this kind, by subject; strongly consistent."""

    def kept(self, name: str) -> Kept | None:
        """What was kept under the name, strongly consistent, or None. For cursors and counts; no line tells of it."""

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        """Keep it if the stored version is `expected` (0: there is none), and count one on; else Stale.

        Stale after a lost answer may mean that this very call wrote it: read again.
        """

    def mark(self, name: str) -> bool:
        """Remember that `name` was done, for ever; whether this call was the first to do so."""


class Past(Protocol):
    """Where the past is read from: the ledger, or the exported trail. Both give the same answers."""

    def points(self, at: datetime, where: Where, *, after: str | None, limit: int) -> list[Point]:
        """At most `limit` remediations that passed the filter at that moment, by id, from behind the id `after`."""

    def tally(self, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        """How many remediations there were at that moment for each combination of these fields of a point."""

    def moves(self, earlier: datetime, later: datetime, where: Where) -> Iterator[tuple[str, str | None, str | None]]:
        """Id, state then and state later (None: not there) of all whose state differs, by id; the filter is held
        against the later point, or the earlier where there is no later one."""

    def courses(self, until: datetime, where: Where, *, since: datetime | None = None) -> Iterator[Course]:
        """The episodes of the remediations that pass the filter, as of that moment, by remediation and episode.

        Those that a next one followed before `since` may be left out: all their moments are older.
        """

    def pace(self, since: datetime, until: datetime, where: Where) -> dict[str, Any]:
        """What `courses.paced` makes of the episodes as of `until`."""

    def lines(self, day: date) -> Iterator[Transition]:
        """Every line of one UTC day, in order of time, remediation and number."""

    def trail(self, remediation: str) -> list[Transition]:
        """All lines of one remediation, first to last."""

    def publications(self) -> list[Publication]:
        """Every publication, first to last."""


@dataclass(frozen=True, slots=True)
class Original:
    """A document as it was first put. `version`: what `get` knows it by, None if all that is left is a marker.

    `puts`: how often its name was put; `hidden`: a delete marker lies among its versions.
    """

    version: str | None
    puts: int = 1
    hidden: bool = False


class Vault(Protocol):
    """Where evidence is kept: documents under names with slashes."""

    def put(self, name: str, body: bytes, *, locked: bool = False) -> None:
        """Keep it. `locked`: under Object Lock, and Denied if another document has the name already."""

    def get(self, name: str, version: str | None = None) -> bytes | None:
        """The document, or None; with `version` the one that `originals` names."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""

    def originals(self, prefix: str) -> dict[str, Original]:
        """What was first put under the names that begin so, sorted by name, also where it was covered later."""


class Signer(Protocol):
    """Who signs checkpoints; the key never leaves it."""

    @property
    def key(self) -> str:
        """What verifiers call the key."""

    @property
    def algorithm(self) -> str:
        """As KMS spells it."""

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest."""

    def verify(self, key: str, algorithm: str, digest: bytes, signature: bytes) -> bool:
        """Whether that key made the signature; False too for a key or algorithm that is not trusted here."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a place's findings; `next` is where to go on, None: these were the last."""

    findings: tuple[Finding, ...]
    next: str | None = None


class Inventory(Protocol):
    """The nodes as their own accounts describe them now."""

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        """What EC2 and SSM say. An EC2 id that EC2 does not know is terminated; an unknown hybrid one is left out."""

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        """How many running EC2 nodes of the location share this tag's value, Auto Scaling group or zone."""

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        """The last operation per node, without the single patches; unscanned nodes are left out."""

    def patches(self, node: Node, state: PatchState) -> PatchState:
        """The same state with the patches that are not installed."""

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        """Those of the patches that the node's last operation speaks of, in whatever state."""

    def associations(self, node: Node) -> AssociationState | None:
        """How the node's associations stand now; None: SSM knows none, or not of each whether and when it ran."""

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """What SSM counts for the nodes of a location, as findings of the sweep; `after` is an earlier page's `next`.

        A place to go on from that AWS does not know any more is Denied.
        """

    def roll(self, location: Location) -> Iterator[NodeState]:
        """Every node that SSM manages there and every running instance that it does not, without tags."""


@dataclass(frozen=True, slots=True)
class Execution:
    """An automation execution. `ended` None: the status is one we do not know, so it counts as neither."""

    id: str
    status: str
    ended: bool | None
    batch: str | None = None
    ended_at: datetime | None = None
    commands: Mapping[str, str] = field(default_factory=dict, hash=False)
    failure: str | None = None
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a run command did on one node; `status` is SSM's StatusDetails."""

    node: str
    status: str
    detail: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == "Success"


class Automations(Protocol):
    """Systems Manager automation in the node's own account."""

    def start(self, batch: Batch) -> str:
        """Start the execution under the batch's token and tag; its id. Temporary: it may or may not have started."""

    def find(self, batch: Batch) -> str | None:
        """The execution that carries the batch's tag, or None."""

    def execution(self, location: Location, execution: str) -> Execution | None:
        """The execution as it stands, or None if SSM does not know it."""

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        """What one run command did, per node."""

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        """Those of the nodes that a patch command works on, or waits for, whoever sent it, by node with its id."""

    def stop(self, location: Location, execution: str) -> None:
        """Cancel a running execution; what it has sent to nodes runs on."""

    def cancel(self, location: Location, command: str) -> None:
        """Cancel a run command where it has not begun; a node in the middle of it may go on to the end."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One location of a fleet run. `execution` None: it was not reached, and `failure` says why."""

    location: Location
    execution: str | None
    status: str
    ended: bool | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class FleetRun:
    """An execution over many locations as it stands; `ended` None: its status is one that we do not know."""

    id: str
    status: str
    ended: bool | None
    branches: tuple[Branch, ...]
    failure: str | None = None


class Fleets(Protocol):
    """Executions over accounts and Regions, started in the hub, as AWS fans them out."""

    def home(self) -> Location:
        """The account of this process's own credentials, and its Region."""

    def start(self, run: Run) -> str:
        """Start it under its token and tag; the execution's id. Temporary: it may or may not have started."""

    def find(self, run: Run) -> str | None:
        """The execution that carries the run's tag, or None."""

    def execution(self, hub: Location, execution: str) -> FleetRun | None:
        """The execution with its locations, or None if SSM does not know it."""

    def nodes(self, location: Location, execution: str) -> list[NodeRun]:
        """What one location's part did, node by node, read in that account and Region."""

    def managed(self, location: Location) -> list[str]:
        """The ids of all nodes that Systems Manager manages there."""

    def unit(self, unit: str) -> frozenset[str]:
        """The active accounts of an organisational unit and of all units below it."""

    def group(self, location: Location, name: str) -> frozenset[str] | None:
        """The ids of the nodes in a resource group there; None: there is no group of that name."""


class Unwired:
    """In the place of a port that a bundle does without: whoever asks it is refused."""

    def __getattr__(self, name: str) -> Any:
        raise Denied(f"nothing is wired here that could {name}: use the deployed service")


@dataclass(frozen=True, slots=True)
class RemediationException:
    """Config's exception for a node under a rule: its automatic remediation starts nothing while it stands.

    `resource` and `kind` are Config's id and type of what the rule speaks about; `until` None: for ever.
    """

    node: Node
    rule: str
    resource: str
    kind: str
    message: str = ""
    until: datetime | None = None

    @property
    def automatic(self) -> bool:
        """Whether Config may have made it itself: it never gives one an end."""
        return self.until is None


class Exceptions(Protocol):
    """The exceptions from Config's automatic remediation."""

    def exceptions(self, location: Location) -> list[RemediationException]:
        """Those of one location, under the rules that are ours."""

    def clear(self, location: Location, exceptions: Sequence[RemediationException]) -> None:
        """Take them back; one that is gone already is no error."""


class Tickets(Protocol):
    """The ticket system."""

    def open(self, errand: Errand) -> str:
        """The id of the one ticket for the errand's key; an open one is found, not doubled."""

    def update(self, errand: Errand) -> None:
        """Add the errand's text to its ticket."""

    def resolve(self, errand: Errand) -> None:
        """Close the errand's ticket; closing a closed one is no error."""


class Baselines(Protocol):
    """The patch baselines of an account in one Region; only what a person runs asks for them."""

    def seen(self, location: Location) -> Seen:
        """The account's own baselines, and what every patch group is registered with."""

    def create(self, location: Location, baseline: Baseline, token: str) -> str:
        """The id of the new baseline; the same token again gives the same one."""

    def update(self, location: Location, id: str, baseline: Baseline) -> None:
        """Replace its content and the digest that it is tagged with."""

    def register(self, location: Location, id: str, group: str) -> None:
        """Nodes of the patch group get this baseline; Denied if another one holds the group."""

    def deregister(self, location: Location, id: str, group: str) -> None:
        """Nodes of the patch group no longer get this baseline."""

    def make_default(self, location: Location, id: str) -> None:
        """Nodes in no registered patch group get this baseline."""


class PolicyStore(Protocol):
    def active(self) -> PolicySet:
        """The set that decides; PolicyError if there is none that loads."""

    def trouble(self) -> str | None:
        """Why the set that was published last does not decide, as of the last look; None: it does."""


class Shelf(Protocol):
    """Where compiled sets lie, each under its digest."""

    def put(self, digest: str, text: bytes) -> None:
        """Lay the document there; the same one may lie there already."""

    def get(self, digest: str) -> bytes:
        """The document as it lies there, not yet checked; PolicyError if there is none."""


class Failures(Protocol):
    """The queues of what failed: of the rules, and of the functions."""

    def letters(self, most: int) -> list[Letter]:
        """Letters that lie there, at most so many, the oldest first; nobody else sees them until they are put back."""

    def put_back(self, letter: Letter) -> None:
        """Let others see it again."""

    def discard(self, letter: Letter) -> None:
        """Delete it for good."""


class Functions(Protocol):
    def invoke(self, function: str, payload: Mapping[str, Any]) -> None:
        """Run the function with this payload to its end; Temporary if it failed, Denied if it may not be run."""


@dataclass(frozen=True, slots=True)
class Lying:
    """An override list as it lies there now: the sha256 of its text, and its version."""

    digest: str
    version_id: str


class Lists(Protocol):
    """Where override lists lie, each under its digest and written once."""

    def put(self, digest: str, text: bytes) -> str:
        """The version id of the list that lies there now; Denied if another text does, or versions are not kept."""

    def look(self, digest: str) -> Lying | None:
        """What lies there now, or None."""

    def address(self, digest: str) -> str:
        """Where a node reads it: an s3 URL, which follows from the digest alone."""


class Notices(Protocol):
    def say(self, what: str, /, **fields: Any) -> None:
        """One structured line for operators; `what` is a stable name such as `transition` or `rejected`."""


class Tracing(Protocol):
    def verb(self, name: str) -> AbstractContextManager[Callable[..., None]]:
        """A subsegment around one verb; calling what it yields adds annotations."""


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait; used only to keep the pace of StartAutomationExecution."""


Done = TypeVar("Done")


class Crew(Protocol):
    """Hands: they share work that waits for answers from outside."""

    def together(self, works: Sequence[Callable[[], Done]]) -> list[Done | Temporary | Denied]:
        """What each came to, in order; begun in order, some at the same time. Who is busy or refuses is a value.

        Anything else that one raises is raised here, when all have ended. A work may itself share out works.
        """

    def alone(self, work: Callable[[], Done]) -> Done:
        """Do this while no other hand does anything alone, for counts that several share; it asks nothing outside."""


class OneByOne:
    """The port `Crew` with one pair of hands: for ledgers in a file and in memory."""

    def together(self, works: Sequence[Callable[[], Done]]) -> list[Done | Temporary | Denied]:
        return [_or_error(work) for work in works]

    def alone(self, work: Callable[[], Done]) -> Done:
        return work()


def _or_error(work: Callable[[], Done]) -> Done | Temporary | Denied:
    try:
        return work()
    except (Temporary, Denied) as error:
        return error


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a verb may reach. Without `exceptions` no Config rule hands its nodes to us."""

    ledger: Ledger
    inventory: Inventory
    automations: Automations
    tickets: Tickets
    policies: PolicyStore
    notices: Notices
    tracing: Tracing
    clock: Clock
    fleets: Fleets = field(default_factory=Unwired)
    exceptions: Exceptions | None = None
    crew: Crew = field(default_factory=OneByOne)
    lists: Lists = field(default_factory=Unwired)
