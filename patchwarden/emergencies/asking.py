"""Asking: what a person wants installed where, in which order and until when, out of the options of the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from chalicelib.core.emergencies import Scope, id_of
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment
from chalicelib.core.overrides import Named, cve, kb, package
from chalicelib.core.windows import parse_duration
from patchwarden.policy.fields import is_id
from patchwarden.when import When

LONGEST = timedelta(days=30)
"""An emergency that is longer is none: the baseline should approve the patch by then."""

CANARY_FIRST = ("1 15m", "10% 15m", "100%")
_WAVE = re.compile(r"(?P<who>tag:[^ ]+=[^ ]+|[A-Za-z][^ =]*=[^ ]+|\d+%|\d+)(?P<rest>( +\S+)*)\Z")

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, each part read; `waves` as a policy writes them, none: all nodes at once.

    `own`: packages of one operating system alone, by its name.
    """

    id: str
    cves: tuple[str, ...]
    kbs: tuple[Named, ...]
    packages: tuple[Named, ...]
    own: tuple[tuple[str, Named], ...]
    scope: Scope
    expires: datetime
    reboot: str
    waves: tuple[dict[str, Any], ...]
    through: tuple[str, ...]
    severity: int
    only_lacking: bool
    owner: str
    by: str
    because: str


def wanted(
    *, cves: Sequence[str], kbs: Sequence[str], packages: Sequence[str], scope: Sequence[str], waves: Sequence[str],
    expires: When, name: str | None, now: datetime, **given: Any,
) -> Wanted:  # fmt: skip
    """The options read; BadParameter names the one that cannot be, and the remedy."""
    if not (cves or kbs or packages):
        raise click.UsageError("say what to install: --cve CVE-2026-12345, --kb KB5035849 or --package name=version")
    called = tuple(dict.fromkeys(_read("--cve", cve, text) for text in cves))
    fixed = tuple(dict.fromkeys(_read("--kb", kb, text) for text in kbs))
    listed = [_read("--package", _of_system, text) for text in dict.fromkeys(packages)]
    built, own = tuple(one for system, one in listed if not system), tuple(each for each in listed if each[0])
    _not_twice(listed)
    id = name or id_of(called, [str(one) for one in (*fixed, *built, *(one for _, one in own))])
    if not is_id(id) or not id.startswith("emergency-"):
        raise click.BadParameter(
            f"{id!r} cannot be its name: write emergency- and then letters, digits and hyphens", param_hint="--id"
        )
    if not str(given["because"]).strip():
        raise click.BadParameter("say why: everybody who meets it reads it", param_hint="--because")
    return Wanted(
        id=id, cves=called, kbs=fixed, packages=built, own=own, scope=_read("--scope", Scope.parse, scope),
        expires=_ends(expires, now), waves=_waves(waves), **given,
    )  # fmt: skip


def _of_system(text: str) -> tuple[str, Named]:
    """`openssl=3.0.2-1@Ubuntu 22.04`: the package, and the operating system that alone is meant, or an empty text."""
    what, found, system = text.partition("@")
    if found and not re.fullmatch(r"\S.{0,99}", system.strip()):
        raise ValueError(
            f"{text!r:.80} names no operating system: write it as the nodes report it, such as {what}@{_AS}"
        )
    return system.strip(), package(what)


_AS = "Amazon Linux 2023"


def _not_twice(given: Sequence[tuple[str, Named]]) -> None:
    """An override list has no word for an operating system: of two versions each node would take what it is offered.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaseline.html
    """
    places = [(system, one.id) for system, one in given]
    for system, id in places:
        if places.count((system, id)) > 1:
            whose = f" for {system}" if system else ""
            raise click.BadParameter(
                f"{id} has two versions{whose}: an AWS override list cannot say which node gets which, and a node with "
                f"either would pass for fixed; say whose each one is: {id}=VERSION@{_AS} for an operating system, "
                f"{id}.x86_64=VERSION for an architecture", param_hint="--package",
            )  # fmt: skip


def _read(option: str, read: Callable[[Any], Made], value: Any) -> Made:
    try:
        return read(value)
    except (ValueError, PolicyError) as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _ends(expires: When, now: datetime) -> datetime:
    """A later moment, or a span from now; the end of a second, as a policy writes it."""
    ends = expires.ahead(now)
    if ends > now + LONGEST:
        raise click.BadParameter(
            f"{format_moment(ends)} is not within the next {LONGEST.days} days: an emergency must end",
            param_hint="'--expires'",
        )
    return ends.replace(microsecond=0)


def _waves(texts: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """One wave each: who, then how long it soaks and how many may fail, such as `PatchRing=canary 30m 1`."""
    listed = [text.strip() for given in texts for text in given.split(",")] or list(CANARY_FIRST)
    if listed == ["none"]:
        return ()
    waves = tuple(_wave(text) for text in listed)
    if len(waves) < 2:
        raise click.BadParameter(
            "one wave is no order: write two or more, such as '1 15m, 100%', or none", param_hint="--waves"
        )
    return waves


def _wave(text: str) -> dict[str, Any]:
    found = _WAVE.match(text)
    words = found["rest"].split() if found else []
    spans = [word for word in words if not word.isdigit()]
    errors = [word for word in words if word.isdigit()]
    if found is None or len(spans) > 1 or len(errors) > 1:
        remedy = "write who, how long it soaks and how many may fail, such as PatchRing=canary 30m 1, or 10% 15m, or 1"
        raise click.BadParameter(f"{text!r:.60} is no wave: {remedy}", param_hint="--waves")
    who = found["who"]
    if "=" in who:
        wave: dict[str, Any] = {"tag": who.removeprefix("tag:")}
    else:
        wave = {"percent": int(who[:-1])} if who.endswith("%") else {"nodes": int(who)}
    if spans:
        _read("--waves", parse_duration, spans[0])
        wave["soak"] = spans[0]
    return {**wave, "max_errors": int(errors[0])} if errors else wave
