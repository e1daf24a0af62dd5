"""Standing: what every trail added up to by the end of each day, kept beside the export, and the past read from it.

It is a by-product, no evidence: it can be made again from the exported trail at any time. With it a question about the
past reads one document for each account and the lines of one day, however old and large the trail is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import groupby, islice
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.courses import Course, begin, paced, step
from chalicelib.core.days import INDEXES, end_of, ended_of, index_of, lines_of, manifest_of, standing_of
from chalicelib.core.moments import format_moment, stored
from chalicelib.core.points import Point, Where, blank, fold
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Transition
from chalicelib.ports import Ledger, Vault

Fold = dict[str, Any]
"""`{point, course, count}`: the fields of a point and of its episode that is under way, and how many lines that is."""

Told = Mapping[str, Any]


def grow(ledger: Ledger, vault: Vault, days: Iterable[date], *, enough: Callable[[], bool] = lambda: False) -> int:
    """Write what is missing, or was made from other lines, for these exported days, oldest first; how many it made.

    It stops after the day during which `enough` becomes true; the next run goes on there.
    """
    before, made = b"", 0
    for day in days:
        source = hashlib.sha256(before + (vault.get(manifest_of(day)) or b"")).hexdigest()
        index = vault.get(index_of(day))
        if index is None or json.loads(index)["from"] != source:
            index = _grown(ledger, vault, day, source, json.loads(before or "{}"))
            vault.put(index_of(day), index)
            made += 1
            if enough():
                break
        before = index
    return made


def _grown(ledger: Ledger, vault: Vault, day: date, source: str, before: Told) -> bytes:
    """The day's index, whose documents are there before it."""
    carried = {name: dict(before.get(name, {})) for name in ("accounts", "counts", "odd")}
    index: dict[str, Any] = {"version": 1, "day": day.isoformat(), "from": source, "ended": [], **carried}
    for account in json.loads(vault.get(manifest_of(day)) or "{}").get("accounts", ()):
        folds, ended = _kept(vault, before, account), list[Told]()
        _apply(ledger, folds, _exported(vault, day, account), end_of(day), ended.append)
        vault.put(standing_of(day, account), _packed(_stored(folds[identity]) for identity in sorted(folds)))
        if ended:
            vault.put(ended_of(day, account), _packed(ended))
            index["ended"].append(account)
        index["accounts"][account] = day.isoformat()
        index["counts"][account] = dict(sorted(Counter(_place(one["point"]) for one in folds.values()).items()))
        index["odd"][account] = sum(one["count"] != one["point"]["number"] for one in folds.values())
    return (canonical(index) + "\n").encode()


def _place(value: Told) -> str:
    return f"{value['region']} {value['control']} {value['state']}"


def _apply(ledger: Ledger, folds: dict[str, Fold], lines: Iterable[Transition], end: datetime,
           ended: Callable[[Told], Any]) -> None:  # fmt: skip
    """Add lines to the folds. Where a line is not the next of its trail, as when clocks differ at midnight, the trail
    up to `end` is folded anew."""
    ordered = sorted(lines, key=lambda line: (line.remediation, line.number))
    for identity, found in groupby(ordered, key=lambda line: line.remediation):
        some = list(found)
        known = folds.get(identity) or {"point": blank(identity), "course": None, "count": 0}
        if [line.number for line in some] == list(range(known["count"] + 1, known["count"] + 1 + len(some))):
            folds[identity] = _folded(known, some, ended)
        else:
            whole = [line for line in ledger.trail(identity) if line.at < end]
            known = {"point": blank(identity), "course": None, "count": 0}
            folds[identity] = _folded(known, whole or some, ended)


def _folded(known: Fold, lines: Iterable[Transition], ended: Callable[[Told], Any]) -> Fold:
    value, course, count = dict(known["point"]), known["course"], known["count"]
    for line in lines:
        episode = int(line.sets.get("episode", value.get("episode", 0)))
        if course is None or course["episode"] != episode:
            if course is not None:
                ended(course)
            course = begin(line, episode)
        else:
            course = dict(course)
        step(course, line)
        fold(value, line)
        count += 1
    return {"point": value, "course": course, "count": count}


_BLANK = ("account", "region", "node", "control")


def _stored(one: Fold) -> Told:
    return {**one, "point": {name: value for name, value in one["point"].items() if name not in _BLANK}}


def _packed(values: Iterable[Told]) -> bytes:
    return gzip.compress("".join(canonical(value) + "\n" for value in values).encode(), 6, mtime=0)


def _documents(vault: Vault, name: str) -> Iterator[Any]:
    body = vault.get(name)
    return map(json.loads, gzip.decompress(body).splitlines()) if body else iter(())


def _kept(vault: Vault, index: Told, account: str) -> dict[str, Fold]:
    """The folds of an account by the end of the index's day, by id."""
    day = index.get("accounts", {}).get(account)
    if day is None:
        return {}
    found = _documents(vault, standing_of(date.fromisoformat(day), account))
    return {one["point"]["id"]: {**one, "point": {**blank(one["point"]["id"]), **one["point"]}} for one in found}


def _exported(vault: Vault, day: date, account: str) -> Iterator[Transition]:
    return map(Transition.from_json, _documents(vault, lines_of(day, account)))


NEAR = timedelta(minutes=15)
"""How far apart two clocks may be: a line that much younger may be an older number of its trail."""

_COUNTED = frozenset({"account", "region", "control", "state"})
_CLOSE = 3
"""How many days back an index is looked for by name before all names are listed."""


class FromStanding:
    """The port `Past` over the standing of each exported day, and the lines since: exact, and made for any size.

    Lines of a day that is not final come from the ledger's day index, others from the export.
    """

    def __init__(self, ledger: Ledger, vault: Vault) -> None:
        self._ledger, self._vault = ledger, vault
        self._known: dict[date, Told | None] = {}
        self._open: dict[date, dict[str, list[Transition]]] = {}
        self._manifests: dict[date, Told | None] = {}
        self._days: list[date] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is any day to stand on."""
        return bool(self._all_days())

    @property
    def size(self) -> int:
        """How many remediations the newest day counts."""
        newest = self._index(self._all_days()[-1]) if self.begun else None
        return sum(count for counts in newest["counts"].values() for count in counts.values()) if newest else 0

    def _all_days(self) -> list[date]:
        if self._days is None:
            names = self._vault.names(INDEXES)
            self._days = [date.fromisoformat(name.removeprefix(INDEXES)[:10]) for name in names]
        return self._days

    def _index(self, day: date) -> Told | None:
        if day not in self._known:
            body = self._vault.get(index_of(day))
            self._known[day] = json.loads(body) if body else None
        return self._known[day]

    def _base(self, at: datetime) -> Told:
        """The newest index whose day is over at that moment; {}: there is none."""
        for back in range(1, _CLOSE + 1):
            found = self._index(at.date() - timedelta(days=back))
            if found:
                return found
        earlier = [day for day in self._all_days() if day < at.date()]
        return (self._index(earlier[-1]) if earlier else None) or {}

    def _since(self, base: Told, until: datetime) -> list[date]:
        """The days whose lines have to be added."""
        first = date.fromisoformat(base["day"]) + timedelta(days=1) if base else min(self._all_days(), default=None)
        count = (until.date() - first).days + 1 if first else 0
        return [first + timedelta(days=number) for number in range(count)] if first else []

    def _manifest(self, day: date) -> Told | None:
        """The manifest of a day that is exported and over, or None."""
        if day not in self._manifests:
            found = json.loads(self._vault.get(manifest_of(day)) or "{}")
            self._manifests[day] = found if found.get("final") else None
        return self._manifests[day]

    def _unexported(self, day: date) -> dict[str, list[Transition]]:
        if day not in self._open:
            found = defaultdict[str, list[Transition]](list)
            for line in self._ledger.day(day):
                found[line.remediation[:12]].append(_slim(line))
            self._open[day] = found
        return self._open[day]

    def _accounts(self, base: Told, until: datetime) -> list[str]:
        found = {*base.get("accounts", ())}
        for day in self._since(base, until):
            manifest = self._manifest(day)
            found |= {*(manifest["accounts"] if manifest else self._unexported(day))}
        return sorted(found)

    def _lines(self, base: Told, account: str, until: datetime) -> Iterator[Transition]:
        """The account's lines behind the base up to that moment."""
        for day in self._since(base, until):
            manifest = self._manifest(day)
            if manifest is None:
                found: Iterable[Transition] = self._unexported(day).get(account, ())
            else:
                found = _exported(self._vault, day, account) if account in manifest["accounts"] else ()
            yield from (line for line in found if line.at <= until)

    def _folds(self, at: datetime, where: Where, *, after: str | None = None,
               ended: Callable[[Told], Any] = lambda one: None) -> Iterator[dict[str, Fold]]:  # fmt: skip
        """The folds at that moment, account by account, each by id."""
        base = self._base(at)
        for account in self._accounts(base, at):
            if where.account in (None, account) and (after is None or account >= after[:12]):
                folds = _kept(self._vault, base, account)
                end = stored(at) + timedelta(milliseconds=1)  # lines are of whole milliseconds
                _apply(self._ledger, folds, self._lines(base, account, at), end, ended)
                yield {identity: folds[identity] for identity in sorted(folds)}

    def _points(self, at: datetime, where: Where, after: str | None = None) -> Iterator[Point]:
        for folds in self._folds(at, where, after=after):
            for identity, one in folds.items():
                if after is None or identity > after:
                    found = Point(**one["point"])
                    if where.holds(found):
                        yield found

    def points(self, at: datetime, where: Where, *, after: str | None, limit: int) -> list[Point]:
        return list(islice(self._points(at, where, after), limit))

    def tally(self, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        counted = self._counted(at) if {*where.given(), *by} <= _COUNTED else None
        if counted is None:
            found = (tuple(getattr(one, name) for name in by) for one in self._points(at, where))
            return dict(Counter(found))
        told = Counter[tuple[Any, ...]]()
        for key, count in counted.items():
            named = dict(zip(("account", "region", "control", "state"), key, strict=True))
            if count and all(named[name] == value for name, value in where.given().items()):
                told[tuple(named[name] for name in by)] += count
        return dict(told)

    def _counted(self, at: datetime) -> Counter[tuple[str, ...]] | None:
        """How many there were by account, Region, control and state: the base's count, moved on by the lines since.

        None where clocks differed, so that only folding is exact.
        """
        base = self._base(at)
        if any(base.get("odd", {}).values()):
            return None
        found = Counter({(account, *key.split(" ")): count for account, counts in base.get("counts", {}).items()
                         for key, count in counts.items()})  # fmt: skip
        for account in self._accounts(base, at + NEAR):
            lines = sorted(self._lines(base, account, at + NEAR), key=lambda line: (line.remediation, line.number))
            for identity, some in groupby(lines, key=lambda line: line.remediation):
                listed = list(some)
                early = [line for line in listed if line.at <= at]
                if early and [line.number for line in early] != [line.number for line in listed[: len(early)]]:
                    return None
                if early:
                    _, region, _, control = identity.split(".", 3)
                    found[account, region, control, early[-1].after.value] += 1
                    if early[0].number > 1:
                        found[account, region, control, early[0].before.value] -= 1
        return found

    def moves(self, earlier: datetime, later: datetime, where: Where) -> Iterator[tuple[str, str | None, str | None]]:
        base = self._base(earlier)
        known = {*self._accounts(base, earlier)}
        for folds in self._folds(later, where):
            account = next(iter(folds), "")[:12]
            then = next(self._folds(earlier, Where(account=account)), {}) if account in known else {}
            for identity, one in folds.items():
                before = then[identity]["point"]["state"] if identity in then else None
                state = one["point"]["state"]
                if before != state and where.holds(Point(**one["point"])):
                    yield identity, before, state

    def courses(self, until: datetime, where: Where, *, since: datetime | None = None) -> Iterator[Course]:
        ended = defaultdict[str, list[Told]](list)
        base = self._base(until)
        for folds in self._folds(until, where, ended=lambda one: ended[one["remediation"]].append(one)):
            account = next(iter(folds), "")[:12]
            older = self._ended(base, account, since)
            for identity, one in folds.items():
                if where.holds(Point(**one["point"])):
                    whole = {value["episode"]: value for value in (*older.get(identity, ()), *ended[identity])}
                    yield from (Course(**whole[number]) for number in sorted(whole)
                                if number < one["course"]["episode"])  # fmt: skip
                    yield Course(**one["course"])
            ended.clear()

    def _ended(self, base: Told, account: str, since: datetime | None) -> dict[str, list[Told]]:
        """The account's episodes that a next one followed by the base's day, and not before `since`."""
        found = defaultdict[str, list[Told]](list)
        last = date.fromisoformat(base["day"]) if base else date.min
        for day in self._all_days():
            if (since is None or day >= since.date()) and day <= last:
                index = self._index(day) or {}
                if account in index.get("ended", ()):
                    for one in _documents(self._vault, ended_of(day, account)):
                        found[one["remediation"]].append(one)
        return found

    def pace(self, since: datetime, until: datetime, where: Where) -> dict[str, Any]:
        return paced(self.courses(until, where, since=since), format_moment(since), format_moment(until))

    def lines(self, day: date) -> Iterator[Transition]:
        return self._ledger.day(day)

    def trail(self, remediation: str) -> list[Transition]:
        return self._ledger.trail(remediation)

    def publications(self) -> list[Publication]:
        return self._ledger.publications()


def _slim(line: Transition) -> Transition:
    """A line without what no fold looks at: a day of a large fleet has to fit into memory."""
    facts = line.evidence.get("facts") or {}
    seen = {"node": {"tags": tags}} if (tags := (facts.get("node") or {}).get("tags")) is not None else {}
    return replace(line, evidence={"facts": {**seen, **({"ou": facts["ou"]} if "ou" in facts else {})}})
