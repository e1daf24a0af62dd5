"""Filtering: filters that name nothing are refused, because an empty answer would look like a clean record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches

import click

from chalicelib.core.errors import PatchwardenError
from chalicelib.core.nodes import spelled
from chalicelib.core.points import EVERYTHING, Where
from chalicelib.ports import Past, Ports, Vault

_LOOKED_AT = 10_000
"""How many nodes are asked for their tags before a tag counts as one that nobody has."""


def checked(
    where: Where, past: Past, now: datetime, ports: Ports, vault: Vault | None, *, active: bool = True
) -> Where:
    """The filter with its node's place filled in; UsageError where policy, account, Region, OU, node or tag is unknown.

    What the policy set names is known, and what any line of the past says. Without `active` the set in force is none
    of this past's.
    """
    where = _place(where)
    for kind in ("account", "region", "policy", "ou"):
        given = getattr(where, kind)
        if given is not None and given not in _named(ports, kind, active=active):
            known = _recorded(past, now, kind, given, vault) | _named(ports, kind, active=active)
            if given not in known:
                raise _unknown(f"--{kind}", f"the policy set knows no {kind} {given}", given, known)
    if where.node is not None and not past.points(now, _only_node(where), after=None, limit=1):
        known = {node for (node,) in past.tally(now, EVERYTHING, ("node",))}
        raise _unknown("--node", f"nothing is recorded about {where.node}", where.node, known)
    if where.tag is not None:
        _tag(where.tag, past, now)
    return where


def identity(after: str | None) -> None:
    """UsageError unless `--after` is an id as the page before gives it."""
    if after is not None and after.count(".") < 3:
        raise click.BadParameter(f"{after!r:.60} is no cursor: give the `next` of the page before",
                                 param_hint="--after")  # fmt: skip


def turn(after: str | None) -> None:
    """UsageError unless `--after` is a turn as the page before gives it."""
    if after is not None and after.count("#") < 2:
        raise click.BadParameter(f"{after!r:.60} is no cursor: give the `next` of the page before",
                                 param_hint="--after")  # fmt: skip


def _only_node(where: Where) -> Where:
    return Where(node=where.node, account=where.account, region=where.region)


def _place(where: Where) -> Where:
    """`account/region/id` in the place of a bare node id."""
    if where.node is None:
        return where
    parts = spelled(where.node).split("/")
    if len(parts) == 1:
        return replace(where, node=parts[0])
    if len(parts) != 3 or not all(parts):
        raise click.BadParameter(f"{where.node} is no node: give an id, or account/region/id", param_hint="--node")
    account, region, node = parts
    if where.account not in (None, account) or where.region not in (None, region):
        raise click.UsageError(f"--node {where.node} is in another place than --account or --region says")
    return replace(where, account=account, region=region, node=node)


def _named(ports: Ports, kind: str, *, active: bool) -> set[str]:
    """What the set in force names; nothing where none loads."""
    if not active:
        return set()
    try:
        policies = ports.policies.active()
    except PatchwardenError:
        return set()
    if kind == "policy":
        return {one.id for one in policies.policies}
    if kind == "ou":
        return {*policies.settings.units.values()}
    return {str(getattr(place, kind)) for place in policies.settings.locations}


def _recorded(past: Past, now: datetime, kind: str, given: str, vault: Vault | None) -> set[str]:
    """What the past names: its points; for a policy also the sets that were published, and every line."""
    known = {str(name) for (name,) in past.tally(now, EVERYTHING, (kind,)) if name is not None}
    if kind != "policy" or given in known:
        return known
    sets = [vault.get(name) for name in vault.names("policies/")] if vault else []
    known |= {str(one["id"]) for body in sets for one in json.loads(body or b"{}").get("policies", ())}
    if given not in known:
        found = {identity for (identity,) in past.tally(now, EVERYTHING, ("id",))}
        lines = (line for identity in sorted(found) for line in past.trail(identity))
        known |= {str(made["policy"]) for line in lines if (made := line.sets.get("decision")) and made.get("policy")}
    return known


def _tag(wanted: str, past: Past, now: datetime) -> None:
    key, equals, _ = wanted.partition("=")
    if past.points(now, Where(tag=wanted), after=None, limit=1):
        return
    points = past.points(now, EVERYTHING, after=None, limit=_LOOKED_AT)
    tags = {(name, value) for one in points for name, value in (one.tags or {}).items()}
    values = {f"{name}={value}" for name, value in tags if name == key}
    if equals and values:
        raise _unknown("--tag", f"no node on record has the tag {wanted}", wanted, values)
    raise _unknown("--tag", f"no node on record has a tag {key}", key, {name for name, _ in tags})


def _unknown(option: str, what: str, given: str, known: Iterable[str]) -> click.BadParameter:
    names = sorted(known)
    near = get_close_matches(given, names, n=3, cutoff=0.6)
    there = f"; there are {', '.join(names[:5])}" if names else "; none is on record"
    return click.BadParameter(what + (f"; did you mean {', '.join(near)}?" if near else there), param_hint=option)
