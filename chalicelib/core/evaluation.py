"""Evaluation: the policies held against the facts of one finding, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.conditions import Condition, Truth, every
from chalicelib.core.moments import format_moment
from chalicelib.core.paths import MISSING, Unreadable
from chalicelib.core.policies import Band, Mode, Policy, PolicySet
from chalicelib.core.readings import Clause, Readings
from chalicelib.core.rollouts import NODE, Reach
from chalicelib.core.then import Action


@dataclass(frozen=True, slots=True)
class Unknown:
    """A policy that could not be evaluated: the path at which the facts failed it, and why."""

    policy: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The winner, and every enforced policy above it that could not be evaluated (all, if nobody won).

    `shadows` are the shadow policies that match, and those whose rollout does not reach the node, in rank order:
    they never win. `against` is the exemption that a winning emergency meets, or the emergency that a winning
    exemption meets; it matches too, or could not be evaluated.
    """

    winner: Policy | None
    unknown: tuple[Unknown, ...]
    shadows: tuple[Policy, ...]
    against: Policy | None = None


def judge(policies: PolicySet, facts: Mapping[str, Any], now: datetime) -> Verdict:
    """The verdict on one finding. What is unknown never wins, and never hides behind what is known."""
    readings = Readings(facts)
    winner, unknown = None, []
    standing = policies.enforced.standing(readings, now)
    for policy, matches in standing:
        reached = _reached(policy, readings)
        if reached is Truth.FALSE:
            continue
        if matches is reached is Truth.TRUE:
            winner = policy
            break
        unknown.append(_doubt(policy, readings))
    against = _against(winner, standing, readings) if winner and winner.band in _CONTESTED else None
    return Verdict(winner, tuple(unknown), tuple(_shadows(policies, readings, now)), against)


_CONTESTED = (Band.GUARDRAIL, Band.EMERGENCY)
"""Below these an exemption and an emergency may still meet; in the weaker bands an emergency would have won."""


def _against(winner: Policy, weaker: Iterator[tuple[Policy, Truth]], readings: Readings) -> Policy | None:
    for policy, _ in weaker:
        pair = (winner, policy)
        if any(map(_urges, pair)) and any(map(_exempts, pair)) and _reached(policy, readings) is not Truth.FALSE:
            return policy
    return None


def _exempts(policy: Policy) -> bool:
    return policy.then.action is Action.EXEMPT


def _urges(policy: Policy) -> bool:
    return policy.band is Band.EMERGENCY and not _exempts(policy)


def _shadows(policies: PolicySet, readings: Readings, now: datetime) -> Iterator[Policy]:
    for policy, matches in policies.shadow.standing(readings, now) if policies.shadow.policies else ():
        beside = policy.mode is Mode.SHADOW or _reached(policy, readings) is Truth.FALSE
        if matches is Truth.TRUE and beside:
            yield policy


def _reached(policy: Policy, readings: Readings) -> Truth:
    return policy.rollout.reach(policy.id, readings).truth if policy.rollout else Truth.TRUE


def _doubt(policy: Policy, readings: Readings) -> Unknown:
    for clause in policy.when.clauses():
        found = readings.find(clause.condition.path)
        if isinstance(found, Unreadable):
            return Unknown(policy.id, clause.condition.path.text, found.why)
    reach = policy.rollout.reach(policy.id, readings) if policy.rollout else None
    if reach and reach.truth is Truth.UNKNOWN:
        return Unknown(policy.id, NODE.text, reach.why)
    raise AssertionError(f"{policy.id} is unknown without an unknown condition")


class Standing(StrEnum):
    """Whether a policy counts for a finding at all."""

    ENFORCED = "enforced"
    SHADOW = "shadow"
    OFF = "off"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Held:
    """One condition held against the facts: `found` is a value, a list of values, or None with a `why`."""

    group: str
    clause: Clause
    truth: Truth
    found: Any
    why: str | None

    @property
    def condition(self) -> Condition:
        return self.clause.condition

    @property
    def answer(self) -> str:
        """`ok`, `no` or `unknown`: whether it speaks for the policy; under `none` the false speak for it."""
        return "unknown" if self.truth is Truth.UNKNOWN else "no" if self.denies else "ok"

    @property
    def denies(self) -> bool:
        """Whether it speaks against the policy: false where it should hold, true where none should."""
        return self.truth is (Truth.TRUE if self.group == "none" else Truth.FALSE)

    def sentence(self) -> str:
        asked, found = self.condition, self.why or f"it is {_short(self.found)}"
        return f"{asked.path.text} {asked.operator} {canonical(asked.operand)}: {found}"

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "path": self.condition.path.text,
            "operator": self.condition.operator,
            "wanted": self.condition.operand,
            "found": _json(self.found),
            "truth": self.truth.value,
            "answer": self.answer,
            "why": self.why,
            "line": self.clause.line,
        }


def _json(found: Any) -> Any:
    return format_moment(found) if isinstance(found, datetime) else found


def _short(found: Any) -> str:
    text = canonical(_json(found))
    return text if len(text) <= 80 else f"{text[:77]}..."


_OUTCOMES = {Truth.TRUE: "matched", Truth.FALSE: "not", Truth.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy held against one finding: whether it matches, and what each condition said.

    `reach` is whether its rollout reaches the node: if it does not, the policy stands as a shadow.
    """

    policy: Policy
    standing: Standing
    truth: Truth
    held: tuple[Held, ...]
    reach: Reach | None = None

    @property
    def why(self) -> str:
        """The condition that says so, in one sentence."""
        if self.truth is Truth.TRUE:
            return "every condition holds"
        speaks = [held for held in self.held if held.denies] if self.truth is Truth.FALSE else []
        speaks += [held for held in self.held if held.truth is Truth.UNKNOWN]
        if not speaks and self.truth is Truth.UNKNOWN and self.reach:
            return f"its rollout: {self.reach.why}"
        return speaks[0].sentence() if speaks else "none of any holds"

    def to_json(self) -> dict[str, Any]:
        """JSON types only; `outcome` is matched, not or unknown."""
        return {
            "policy": self.policy.id,
            "band": self.policy.band.value,
            "action": self.policy.then.action.value,
            "standing": self.standing.value,
            "outcome": _OUTCOMES[self.truth],
            "why": self.why,
            "origin": self.policy.origin,
            "digest": self.policy.digest,
            "rollout": {"reaches": self.reach.truth.value, "why": self.reach.why} if self.reach else None,
            "conditions": [held.to_json() for held in self.held],
        }


def evaluate(policies: PolicySet, facts: Mapping[str, Any], now: datetime) -> list[Evaluation]:
    """Every policy in rank order with every condition: nothing is skipped, so that it can be explained."""
    readings = Readings(facts)
    return [_evaluation(policy, readings, now) for policy in policies.policies]


def _evaluation(policy: Policy, readings: Readings, now: datetime) -> Evaluation:
    rolled = policy.rollout if policy.mode is Mode.ENFORCE else None
    reach = rolled.reach(policy.id, readings) if rolled else None
    truth, standing = policy.when.judge(readings), _standing(policy, now)
    if reach and reach.truth is Truth.UNKNOWN:
        truth = every((truth, reach.truth))
    if reach and reach.truth is Truth.FALSE and standing is Standing.ENFORCED:
        standing = Standing.SHADOW
    return Evaluation(policy, standing, truth, tuple(_held(policy, readings)), reach)


_STANDING = {Mode.ENFORCE: Standing.ENFORCED, Mode.SHADOW: Standing.SHADOW, Mode.OFF: Standing.OFF}


def _standing(policy: Policy, now: datetime) -> Standing:
    return Standing.ENDED if policy.ended(now) else _STANDING[policy.mode]


def _held(policy: Policy, readings: Readings) -> Iterator[Held]:
    for group in ("all", "any", "none"):
        for clause in getattr(policy.when, group):
            found = readings.find(clause.condition.path)
            truth = readings.truth(clause.condition)
            if isinstance(found, Unreadable):
                yield Held(group, clause, truth, None, found.why)
            elif found is MISSING:
                yield Held(group, clause, truth, None, "it is missing")
            else:
                yield Held(group, clause, truth, found, None)
