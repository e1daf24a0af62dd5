"""Views: what a page says, as plain values: the same ones become HTML, JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads somewhere; `to` is a path below the pages' root."""

    text: str
    to: str


@dataclass(frozen=True, slots=True)
class Card:
    """One figure with its meaning. `mood` is `good`, `bad`, `warn` or `plain`; what is unknown is never good."""

    name: str
    value: str
    note: str = ""
    mood: str = "plain"
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; a cell is a text, a number or a Link. `empty` is what is said instead of no row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "nothing"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with the table that it was drawn from, for those who cannot see it."""

    title: str
    svg: str
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that must be seen first. `mood` as of a card."""

    text: str
    mood: str = "warn"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a timeline."""

    at: str
    what: str
    text: str
    actor: str
    state: str
    details: Sequence[tuple[str, str]] = ()
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    title: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Ask:
    """A form by which a person does something: `action` is a path below the root, `hidden` goes with it."""

    title: str
    action: str
    buttons: Sequence[tuple[str, str]]
    hidden: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A field of the form that narrows a page; its value lives in the URL. `choices` None: any text."""

    name: str
    label: str
    value: str
    choices: Sequence[str] | None = None


Block = Card | Table | Chart | Banner | Timeline | Ask


@dataclass(frozen=True, slots=True)
class View:
    """A page. `question` is what it answers; `data` is its JSON; `main` is the table that becomes its CSV."""

    title: str
    question: str
    data: Mapping[str, Any]
    main: Table
    cards: Sequence[Card] = ()
    blocks: Sequence[Block] = ()
    banners: Sequence[Banner] = ()
    filters: Sequence[Filter] = ()
