"""Checks: what a well-shaped policy or `_set.yaml` must hold to besides, as one small rule after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import ACCOUNT, REGION
from chalicelib.core.overrides import Named, digest_of_list
from chalicelib.core.plans import MOST_NODES
from chalicelib.core.windows import Window, opening
from patchwarden.policy import fields, set_shapes, shapes
from patchwarden.policy.asking import check_condition
from patchwarden.policy.fitting import piece
from patchwarden.policy.problems import Level, near, near_or_all
from patchwarden.policy.source import Location, Source

GROUPS = ("all", "any", "none")

_ACTING = frozenset({
    "action", "severity", "window", "deadline", "on_deadline", "reboot", "attempts", "cooldown", "stopped", "snapshot",
    "limits", "document", "hooks", "patches", "through",
})  # fmt: skip
EFFECTIVE: dict[str, frozenset[str]] = {
    "remediate": _ACTING,
    "approve": _ACTING | {"approval"},
    "ticket": frozenset({"action", "severity"}),
    "observe": frozenset({"action"}),
    "exempt": frozenset({"action", "until", "reason", "approved"}),
}
"""Which fields of `then` mean something with which action."""

_OURS = {name.lower(): name for name in ("NodeIds", "NodeId", "BatchId", "SnapshotId")}
_OVERRIDES = {name.lower(): name for name in ("InstallOverrideList", "BaselineOverride")}


def check_policy(source: Source, rules: set_shapes.SetFile | None, now: datetime | None) -> None:
    """Every problem of one policy file beyond its shape; `rules` None: `_set.yaml` itself could not be used."""
    _check_when(source)
    raw = _map(source.data, "then")
    _check_band(source, raw)
    _check_effect(source, raw)
    _check_exemption(source, raw, rules)
    _check_approval(source, raw, now)
    _check_association(source, raw)
    _check_patches(source, raw, rules)
    _check_ended(source, now)
    _check_rollout(source, rules)
    then = piece(shapes.Then, raw)
    if then is not None and rules is not None:
        _check_window(source, then, rules)
        _check_ceilings(source, ("then",), then, rules.ceilings)
        _check_document(source, then, rules)
        check_hooks(source, ("then",), then.hooks, rules.hooks)
        _check_hooked(source, then)


def _map(data: Any, name: str) -> dict[str, Any]:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def conditions(data: Any) -> Iterator[tuple[Location, dict[str, Any]]]:
    """The conditions of a policy that have the right shape, each with its place."""
    when = _map(data, "when")
    for group in GROUPS:
        items = when.get(group)
        for number, item in enumerate(items if isinstance(items, list) else []):
            if piece(shapes.Condition, item) is not None:
                yield ("when", group, number), item


def _check_when(source: Source) -> None:
    when = source.data.get("when")
    if when == {}:
        source.add("PW203", ("when",), "when is empty: it would speak for every finding", "name at least one condition")
    for where, condition in conditions(source.data):
        check_condition(source, where, condition)


def _check_band(source: Source, then: Mapping[str, Any]) -> None:
    band, action = source.data.get("band", "standard"), then.get("action")
    if band == "guardrail" and action == "remediate":
        hint = "a guardrail holds back: use ticket or approve, or the band emergency"
        source.add("PW401", ("then", "action"), "a guardrail may not remediate", hint)
    if band != "default" and action == "observe":
        hint = "write band: default, or mode: shadow on what you want to try"
        what = f"observe in band {band} would silently switch remediation off"
        source.add("PW402", ("then", "action"), what, hint)
    if band == "emergency" and "expires" not in source.data:
        source.add("PW403", ("band",), "an emergency must end", "add expires: with day, time and zone")


def _check_effect(source: Source, then: Mapping[str, Any]) -> None:
    effective = EFFECTIVE.get(str(then.get("action")))
    for name in then if effective else ():
        if name in shapes.Then.model_fields and name not in (effective or ()):
            what = f"{name} has no effect with action: {then['action']}"
            source.add_at_key("PW406", ("then", name), what, "remove it")
    if "on_deadline" in then and "deadline" not in then:
        source.add_at_key("PW411", ("then", "on_deadline"), "on_deadline needs a deadline", "add deadline: 7d")


def _check_exemption(source: Source, then: Mapping[str, Any], rules: set_shapes.SetFile | None) -> None:
    if then.get("action") != "exempt":
        return
    for name, remedy in _EXEMPTION.items():
        if name not in then:
            source.add("PW404", ("then",), f"an exemption needs {name}", remedy)
    found = piece(shapes.Then, then)
    if found and found.until and found.approved and rules:
        approved = datetime.combine(found.approved.on, time(), UTC)
        latest = approved + rules.ceilings.exemption
        if found.until > latest:
            what = f"the exemption is longer than {span(rules.ceilings.exemption)} from its approval on"
            source.add(
                "PW405", ("then", "until"), what, f"write {format_moment(latest)} or earlier, or have it approved again"
            )


def _check_approval(source: Source, then: Mapping[str, Any], now: datetime | None) -> None:
    """A day to come would stretch the ceiling, which counts from the approval on."""
    approved = piece(shapes.Approved, then.get("approved"))
    if approved and now and approved.on > now.date():
        what = f"{approved.on} is a day to come: nobody has approved this yet"
        source.add("PW413", ("then", "approved", "on"), what, "write the day on which it was approved")


_EXEMPTION = {
    "until": "add until: with day, time and zone",
    "reason": "add reason: why the node may stay as it is",
    "approved": "add approved: {by: …, on: …, ticket: …}",
}


def _check_association(source: Source, then: Mapping[str, Any]) -> None:
    """Our runbooks install patches; they cannot repair an association."""
    if then.get("action") not in ("remediate", "approve") or "document" in then:
        return
    for where, condition in conditions(source.data):
        if condition["path"] == "$.finding.control" and "association" in _operands(condition) and where[1] == "all":
            hint = "add document: {name: …, version: …}, or use action: ticket"
            source.add("PW411", where, "to remediate the control association a document is needed", hint)


def _operands(condition: Mapping[str, Any]) -> list[Any]:
    return [condition.get("equals"), *condition.get("in", [])]


def _check_ended(source: Source, now: datetime | None) -> None:
    for where in (("expires",), ("then", "until")):
        container = source.data if len(where) == 1 else _map(source.data, "then")
        moment = piece(_Moment, {"moment": container.get(where[-1])})
        if moment and now and moment.moment <= now:
            what = f"the policy ended at {format_moment(moment.moment)}"
            source.add("PW412", where, what, "remove the file, or have it approved again", level=Level.WARNING)


def _check_rollout(source: Source, rules: set_shapes.SetFile | None) -> None:
    """A rollout that reaches nobody by mistake would keep a policy a shadow for ever."""
    rollout = piece(shapes.Rollout, source.data.get("rollout"))
    if rollout is None:
        return
    mode = source.data.get("mode", "enforce")
    if mode != "enforce":
        source.add_at_key("PW414", ("rollout",), f"a rollout changes nothing with mode: {mode}", "write mode: enforce")
    _check_waves(source, rollout)
    if rollout.percent == 100 and rollout.accounts is None and not rollout.waves:
        source.add_at_key("PW414", ("rollout",), "the rollout is all nodes", "remove it, lower percent, or add waves")
    for number, account in enumerate(rollout.accounts or ()):
        where = ("rollout", "accounts", number)
        if not ACCOUNT.match(account):
            source.add("PW504", where, f"{account!r} cannot be one of accounts", _SCOPE[0][2])
        elif rules is not None and account not in rules.scope.accounts:
            source.add("PW414", where, f"account {account} is not in the scope of _set.yaml", _in(account, rules))


def _check_waves(source: Source, rollout: shapes.Rollout) -> None:
    """Waves must lead to all nodes, and none may be empty from the beginning."""
    waves = rollout.waves or []
    action = str(_map(source.data, "then").get("action"))
    if waves and action not in ("remediate", "approve"):
        what = f"waves have no effect with action: {action}"
        source.add_at_key("PW416", ("rollout", "waves"), what, "remove them")
    reached = 0
    for number, wave in enumerate(waves):
        where = ("rollout", "waves", number)
        given = [name for name in ("tag", "nodes", "percent") if getattr(wave, name) is not None]
        if len(given) != 1:
            what = f"a wave names {' and '.join(given) or 'no nodes'}"
            source.add("PW416", where, what, "give one of tag, nodes and percent")
        elif wave.tag is not None and not all(wave.tag.partition("=")):
            source.add("PW416", where, f"{wave.tag!r} is no tag", "write tag: PatchRing=canary")
        elif wave.percent is not None and wave.percent <= reached:
            hint = "percent counts the earlier waves too: write more than before"
            source.add("PW416", where, f"the wave adds no node: {reached} % have started before", hint)
        reached = max(reached, wave.percent or 0)
    if waves and waves[-1].percent != 100:
        where = ("rollout", "waves", len(waves) - 1)
        source.add("PW416", where, "the last wave leaves nodes out", "end with {percent: 100}")


def _in(account: str, rules: set_shapes.SetFile) -> str:
    return near_or_all(account, rules.scope.accounts)


class _Moment(fields.Shape):
    moment: fields.Moment


def _check_window(source: Source, then: shapes.Then, rules: set_shapes.SetFile) -> None:
    if then.window is not None and then.window not in rules.windows:
        hint = near_or_all(then.window, rules.windows) if rules.windows else "define it in _set.yaml under windows"
        source.add("PW407", ("then", "window"), f"there is no window {then.window!r}", hint)


_Limited = shapes.Then | set_shapes.Defaults


def _check_ceilings(source: Source, where: Location, asked: _Limited, ceilings: set_shapes.Ceilings) -> None:
    for name, value, most in _bounded(asked, ceilings):
        if value is not None and size(value) > size(most):
            place = (*where, "limits", name) if name in shapes.Limits.model_fields else (*where, name)
            what = f"{name} {span(value)} is above the organisation's ceiling {span(most)}"
            source.add("PW408", place, what, f"write {span(most)} or less, or raise it in _set.yaml")


def _bounded(asked: _Limited, ceilings: set_shapes.Ceilings) -> Iterator[tuple[str, Any, Any]]:
    yield "attempts", asked.attempts, ceilings.attempts
    yield "concurrency", asked.limits.concurrency, ceilings.concurrency
    yield "max_errors", asked.limits.max_errors, ceilings.max_errors
    yield "max_per_hour", asked.limits.max_per_hour, ceilings.max_per_hour
    yield "deadline", getattr(asked, "deadline", None), ceilings.deadline


def size(value: int | str | timedelta) -> float:
    """Comparable within one limit: a number of nodes counts as its share of a full batch."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int):
        return value
    return float(value[:-1]) if value.endswith("%") else 100 * int(value) / MOST_NODES


_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def span(value: Any) -> str:
    """A duration as a policy writes it; anything else as it is."""
    if not isinstance(value, timedelta):
        return str(value)
    seconds = int(value.total_seconds())
    return next(f"{seconds // size}{unit}" for size, unit in _UNITS if seconds % size == 0)


def _check_document(source: Source, then: shapes.Then, rules: set_shapes.SetFile) -> None:
    if then.document is None:
        return
    if then.document.name not in rules.documents:
        hint = near(then.document.name, rules.documents) or "add it to documents in _set.yaml, which security reviews"
        source.add("PW409", ("then", "document", "name"), f"document {then.document.name!r} is not allowed", hint)
    for name in then.document.parameters:
        where = ("then", "document", "parameters", name)
        if name.lower() in _OURS:
            hint = "remove it: Patchwarden sets it for each batch"
            source.add_at_key("PW410", where, f"{name} is not for a policy to set", hint)
        if name.lower() in _OVERRIDES:
            hint = "an override can name any repository, as root: change the patch baseline instead"
            source.add_at_key("PW410", where, f"{name} may not be set by a policy", hint)


def check_hooks(source: Source, where: Location, hooks: shapes.Hooks | None, allowed: list[str]) -> None:
    """A hook runs as root on every node, so each document is one that security has reviewed."""
    for name, document in (hooks.model_dump(exclude_none=True) if hooks else {}).items():
        if document not in allowed:
            hint = near(document, allowed) or "add it to hooks in _set.yaml, which security reviews"
            source.add("PW409", (*where, "hooks", name), f"hook {document!r} is not allowed", hint)


def _check_hooked(source: Source, then: shapes.Then) -> None:
    if then.hooks is not None and then.document is not None:
        hint = "remove one of the two: a document runs what it likes"
        source.add_at_key("PW415", ("then", "hooks"), "hooks do not run with another document", hint)


def _check_patches(source: Source, then: Mapping[str, Any], rules: set_shapes.SetFile | None) -> None:
    """An override list decides what root installs: only an emergency has one, only in our own bucket, by its digest."""
    if "patches" not in then:
        if "through" in then:
            hint = "remove it: a freeze holds every policy but an emergency with named patches"
            source.add_at_key("PW417", ("then", "through"), "through is only for named patches", hint)
        return
    if source.data.get("band") != "emergency":
        hint = "write band: emergency, with expires:"
        source.add_at_key("PW417", ("then", "patches"), "only an emergency installs named patches", hint)
    for name in ("hooks", "document", "window"):
        if name in then:
            what = f"{name} does not go with named patches"
            source.add_at_key("PW417", ("then", name), what, _NOT_WITH_PATCHES[name])
    if then.get("stopped") == "start":
        hint = "write stopped: wait: a node is patched when it runs"
        source.add_at_key("PW417", ("then", "stopped"), "named patches do not go onto a node that is started", hint)
    found = piece(shapes.Then, then)
    for number, one in enumerate(found.patches or () if found else ()):
        named = tuple(Named(patch.id, patch.version) for patch in one.named)
        if digest_of_list(named) != one.list:
            hint = "do not edit it: `patchwarden emergency start` writes list and policy together"
            source.add(
                "PW417", ("then", "patches", number, "list"), "the digest is not that of the patches named", hint
            )
    for number, name in enumerate(found.through or () if found else ()):
        freezes = [freeze.name for freeze in rules.freezes] if rules else []
        if rules and name not in freezes:
            hint = near_or_all(name, freezes) if freezes else "_set.yaml has no freezes: remove it"
            source.add("PW417", ("then", "through", number), f"there is no freeze {name!r}", hint)


_NOT_WITH_PATCHES = {
    "hooks": "remove the hooks: AWS-RunPatchBaselineWithHooks takes no override list",
    "document": "remove the document: only our own runbook takes an override list",
    "window": "remove the window: an emergency does not wait for one",
}


UNIT = re.compile(r"(ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})\Z")
"""https://docs.aws.amazon.com/organizations/latest/APIReference/API_OrganizationalUnit.html"""


def _check_units(source: Source) -> None:
    """A unit is written as AWS writes it, and an account is in one of them."""
    units = _map(source.data, "units")
    seen: dict[str, str] = {}
    for unit in units:
        if not UNIT.match(str(unit)):
            source.add("PW504", ("units", unit), f"{unit!r} cannot be one of units",
                       "a unit is written like ou-ab12-prod00001, the root like r-ab12")  # fmt: skip
        for number, account in enumerate(_list(units, unit)):
            where = ("units", unit, number)
            if not isinstance(account, str) or not ACCOUNT.match(account):
                source.add("PW504", where, f"{account!r} cannot be one of accounts", _SCOPE[0][2])
            elif seen.setdefault(account, unit) != unit:
                source.add("PW504", where, f"account {account} is in {seen[account]} already",
                           "name it once, under the unit that holds it directly")  # fmt: skip


def check_set(source: Source, now: datetime | None) -> None:
    """Every problem of `_set.yaml` beyond its shape."""
    for name, window in _map(source.data, "windows").items():
        if piece(set_shapes.Window, window) is not None:
            _check_opening(source, name, window, now)
    for number, item in enumerate(_list(source.data, "freezes")):
        freeze = piece(set_shapes.Freeze, item)
        if freeze and freeze.until <= freeze.from_:
            source.add("PW503", ("freezes", number, "until"), f"freeze {freeze.name} ends before it begins")
    for name, pattern, remedy in _SCOPE:
        for number, value in enumerate(_list(_map(source.data, "scope"), name)):
            if isinstance(value, str) and not pattern.match(value):
                source.add("PW504", ("scope", name, number), f"{value!r} cannot be one of {name}", remedy)
    _check_units(source)
    surge = piece(set_shapes.Surge, _map(source.data, "surge"))
    if surge and surge.canary >= surge.at_least:
        what = f"canary {surge.canary} is not below at_least {surge.at_least}: such a surge would hold nothing"
        source.add("PW506", ("surge", "canary") if "canary" in source.data["surge"] else ("surge",), what,
                   f"write a canary below {surge.at_least}")  # fmt: skip
    _check_defaults(source)


_SCOPE = (
    ("accounts", ACCOUNT, "an account id has 12 digits, in quotes"),
    ("regions", REGION, "a Region is written like eu-west-1"),
)


def _list(data: Any, name: str) -> list[Any]:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []


def _check_opening(source: Source, name: str, raw: Mapping[str, Any], now: datetime | None) -> None:
    where: Location = ("windows", name)
    try:
        window = Window.from_json(name, raw)
    except PolicyError as error:
        what, _, hint = str(error).rpartition(": ")
        field = next((field for field in set_shapes.Window.model_fields if field in what and field in raw), None)
        source.add("PW501", (*where, field) if field else where, what, hint)
        return
    if now is not None and opening(window, now) is None:
        what = f"window {name!r} does not open within 400 days"
        source.add("PW502", (*where, "cron"), what, "look at its day, month and year fields")


def _check_defaults(source: Source) -> None:
    defaults, ceilings = (
        piece(shape, _map(source.data, name))
        for shape, name in ((set_shapes.Defaults, "defaults"), (set_shapes.Ceilings, "ceilings"))
    )
    if isinstance(defaults, set_shapes.Defaults) and isinstance(ceilings, set_shapes.Ceilings):
        _check_ceilings(source, ("defaults",), defaults, ceilings)
