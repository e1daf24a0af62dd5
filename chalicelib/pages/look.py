"""Look: one visit to a page: its filters, read from the URL by the rules of the REST API's routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.answers import READS, Asked
from chalicelib.pages.views import Filter, View
from chalicelib.ports import Signer
from chalicelib.routes import ROUTES, Parameter, read


@dataclass(frozen=True, slots=True)
class Look(Asked):
    """An asked question whose answers become a page. `given` are the filters as they stand in the URL."""

    signer: Signer | None = None
    given: Mapping[str, str] | None = None

    def say(self, name: str, **more: Any) -> dict[str, Any]:
        """The answer of a route of the REST API, to the same filters and these; nothing there is {}."""
        known = {one.name for route in ROUTES if route.name == name for one in route.parameters}
        query = {key: value for key, value in {**self.query, **more}.items() if key in known}
        return READS[name](replace(self, query=query)) or {}

    def filter(self, parameter: Parameter, label: str) -> Filter:
        choices = tuple(map(str, parameter.schema["enum"])) if "enum" in parameter.schema else None
        value = str(self.query.get(parameter.name, ""))
        return Filter(parameter.name, label, value, choices, parameter.says)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the site. `shown` are the filters of its form, by name with their label; others live in the URL only.

    `since` is where its span begins if nobody says so.
    """

    path: str
    title: str
    make: Callable[[Look], View | None]
    parameters: tuple[Parameter, ...] = ()
    shown: Mapping[str, str] | None = None
    since: str = "30d"

    def read(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The filters with their values; Wrong names the one that cannot be read. An empty field is no filter."""
        given = {name: value for name, value in query.items() if value != "" and name != "refresh"}
        found = read(self.parameters, given, "filter")
        spans = any(one.name == "since" for one in self.parameters)
        return {**({"since": self.since} if spans else {}), **found}

    def form(self, look: Look) -> tuple[Filter, ...]:
        """The fields of its form: the usual ones, and each other one that the URL holds already."""
        if self.shown is None:
            return ()
        usual = self.shown
        held = [one for one in self.parameters if one.name in usual or one.name in (look.given or {})]
        order = {name: place for place, name in enumerate(usual)}
        ordered = sorted(held, key=lambda one: order.get(one.name, len(order)))
        return tuple(look.filter(one, usual.get(one.name, one.name.capitalize())) for one in ordered
                     if one.name not in ("after", "limit"))  # fmt: skip


def takes(*routes: str, more: Iterable[Parameter] = (), without: Iterable[str] = ()) -> tuple[Parameter, ...]:
    """The parameters of these routes of the REST API, each once."""
    found = {one.name: one for route in ROUTES if route.name in routes for one in route.parameters}
    found |= {one.name: one for one in more}
    return tuple(one for name, one in found.items() if name not in {*without})
