"""Views: what a page says, as plain values: the same ones become HTML, JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads somewhere; `to` is a path below the pages' root."""

    text: str
    to: str


@dataclass(frozen=True, slots=True)
class Badge:
    """A word with a mood: `good`, `bad`, `warn` or `plain`. The word says it all: colour only helps."""

    text: str
    mood: str = "plain"


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell that people read in other words than programs: `text` on the page, `value` in the CSV."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Card:
    """One figure with its meaning. `mood` as of a badge; what is unknown is never good."""

    name: str
    value: str
    note: str = ""
    mood: str = "plain"
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A form by which a person does something to a remediation: `buttons` are `(verb, words)`."""

    title: str
    node: str
    remediation: str
    buttons: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; a cell is a text, a number, a Link, a Badge or a Figure. `empty` is said instead of no row.

    `asks`, if any, has one Ask or None for each row; `next` is the cursor of the rows that follow.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "nothing"
    note: str = ""
    asks: Sequence[Ask | None] = ()
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with the table that it was drawn from, for those who cannot see it."""

    title: str
    svg: str
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that must be seen first. `mood` as of a badge."""

    text: str
    mood: str = "warn"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a timeline; `kind` says in a word what sort of thing happened."""

    at: str
    what: str
    text: str
    actor: str
    state: str
    kind: str = ""
    details: Sequence[tuple[str, str]] = ()
    hash: str = ""
    under: str = ""
    """The policy that it was decided by, with the beginning of its digest."""


@dataclass(frozen=True, slots=True)
class Timeline:
    title: str
    steps: Sequence[Step]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """One thing after another, each with its badges and what is said of it; for what is too long for a column."""

    title: str
    items: Sequence[tuple[str, Sequence[Badge], Sequence[str], str]]
    """Name, badges, paragraphs, and the path that it leads to (empty: nowhere)."""
    empty: str = "nothing"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A field of the form that narrows a page; its value lives in the URL. `choices` None: any text."""

    name: str
    label: str
    value: str
    choices: Sequence[str] | None = None
    says: str = ""


Block = Card | Table | Chart | Banner | Timeline | Ask | Words


@dataclass(frozen=True, slots=True)
class View:
    """A page. `question` is what it answers; `data` is its JSON; `main` is the table that becomes its CSV.

    `also` leads to pages beside it that are not in the menu. `cut` says of each list in the JSON that is not whole how
    much of it there is, and where the rest is.
    """

    title: str
    question: str
    data: Mapping[str, Any]
    main: Table
    cards: Sequence[Card] = ()
    blocks: Sequence[Block] = ()
    banners: Sequence[Banner] = ()
    also: Sequence[Link] = field(default_factory=tuple)
    filters: Sequence[Filter] = ()
    cut: Sequence[str] = ()

    @property
    def next(self) -> str | None:
        """The cursor of the rows that follow, of whichever table goes on."""
        tables = (self.main, *(block for block in self.blocks if isinstance(block, Table)))
        return next((table.next for table in tables if table.next), None)


def node_link(row: Mapping[str, Any]) -> Link:
    """A node's id that leads to its page."""
    return Link(str(row["node"]), f"node/{row['account']}/{row['region']}/{row['node']}")


def case_link(identity: str) -> Link:
    """The same for what only names the remediation."""
    account, region, node, _ = identity.split(".", 3)
    return Link(node, f"node/{account}/{region}/{node}")


def to(path: str, **query: Any) -> str:
    """A path with a query, for a link; what is None is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def told(seconds: float | None) -> str:
    """A span in two units; `not known` for None."""
    if seconds is None:
        return "not known"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def brief(moment: str | None, otherwise: str = "not known") -> str:
    """A moment as people read it: 2026-11-28 02:00 UTC."""
    return f"{moment[:10]} {moment[11:16]} UTC" if moment else otherwise


def when(moment: str | None, otherwise: str = "not known") -> Figure:
    """A moment as a cell."""
    return Figure(brief(moment, otherwise), moment)


def lasted(seconds: float | None) -> Figure:
    """A span as a cell, in seconds for programs."""
    return Figure(told(seconds), seconds)
