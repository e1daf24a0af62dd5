"""Recording: a real decision of the trail becomes a fixture for policy tests, with or without its names."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from chalicelib.core.conditions import Condition, Truth
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from patchwarden.policy.past import PastDecision

Made = dict[str, Any]
"""A fixture in YAML types, as shapes.Fixture reads it."""


def fixture_of(past: PastDecision) -> Made:
    """The fixture from which the very facts of a past decision are gathered again."""
    return fixture_from(past.case, past.facts)


def fixture_from(case: Remediation, facts: Mapping[str, Any]) -> Made:
    """The same from a remediation and the facts that were gathered about its node."""
    finding = {**_there(facts["finding"]), "node": case.node.id, "account": facts["account"], "region": facts["region"],
               "observed_at": facts["time"], "detail": facts["detail"]}  # fmt: skip
    cools = format_moment(case.cools_until) if case.cools_until else None
    made: Made = {"finding": finding, "history": _there({**facts["history"], "cools_until": cools})}
    if "node" in facts:
        node = _there({name: value for name, value in facts["node"].items() if name not in ("id", "kind")})
        made["node"] = {**node, "tags": node.get("tags", {})}
        if "ping" not in node:
            made["unread"] = ["$.node.ping"]
        if "tags" not in node:
            made["unread"] = [*made.get("unread", []), "$.node.tags"]
    if "patch" in facts:
        patch = facts["patch"]
        made["patch"] = _there(
            {name: value for name, value in patch.items() if name not in ("pending_reboot", "cut_at", "cves_cut_at")}
        )
    return made


def _there(block: Mapping[str, Any]) -> Made:
    """The block without what is missing: YAML has no word for it that our loader takes."""
    return {name: value for name, value in block.items() if value is not None}


def to_yaml(made: object) -> str:
    """The text of a fixture, or of a list of tests."""
    return yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=120)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Other names for whatever the policies do not name themselves; the same name for the same key, for ever.

    Without the key nobody can try all account ids until one fits. What a policy names is public beside it already,
    and a test without it would show nothing.
    """

    key: bytes
    policies: PolicySet

    def fixture(self, made: Made) -> Made:
        finding, node = made["finding"], made.get("node")
        account, identity = self.account(finding["account"]), self.node(finding["node"])
        told = {**finding, "account": account, "node": identity, "detail": self._detail(finding, account, identity)}
        if "rule" in finding:
            told["rule"] = self.text("rule", finding["rule"])
        other = {**made, "finding": told, "history": self._texts(made["history"], {"last_outcome": "outcome"})}
        if node is not None:
            other["node"] = {**self._texts(node, {"group": "group"}), "tags": self.tags(node["tags"])}
        if "patch" in made:
            other["patch"] = self._patch(made["patch"])
        return other

    def account(self, account: str) -> str:
        """Twelve digits; never those of an account that a policy names."""
        if self._named(account):
            return account
        return f"{int(self._hash('account', account), 16) % 10**12:012}"

    def node(self, identity: str) -> str:
        """The same kind and length of id."""
        kind, _, rest = identity.partition("-")
        return identity if self._named(identity) else f"{kind}-{self._hash('node', rest)[: len(rest)]}"

    def text(self, kind: str, value: str) -> str:
        return value if self._named(value) else f"{kind}-{self._hash(kind, value)[:8]}"

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags that policies look at keep their names, and their values where a condition names these."""
        return dict(self._tag(name, value) for name, value in tags.items())

    def _tag(self, name: str, value: str) -> tuple[str, str]:
        if name not in self._tags():
            return f"tag-{self._hash('tag', name)[:8]}", f"value-{self._hash('value', value)[:8]}"
        return name, value if self._like(name, value) else self.text("value", value)

    def _tags(self) -> set[str]:
        looked_at = {str(one.path.steps[2]) for one in self._conditions() if _is_tag(one)}
        limits = [limit for policy in self.policies.policies for limit in policy.then.limits.per_group]
        flag = self.policies.settings.immutable
        return looked_at | {limit.tag for limit in limits if limit.tag} | ({flag.tag} if flag else set())

    def _like(self, tag: str, value: str) -> bool:
        """Whether a condition on the tag takes the value without naming it, as glob does."""
        return any(
            one.operator in ("starts_with", "ends_with", "glob") and one.judge(value) is Truth.TRUE
            for one in self._conditions()
            if _is_tag(one) and one.path.steps[2] == tag
        )

    def _named(self, value: str) -> bool:
        rolled = (policy.rollout.accounts or () for policy in self.policies.policies if policy.rollout)
        return any(value in _operands(one) for one in self._conditions()) or any(value in each for each in rolled)

    def _conditions(self) -> Iterator[Condition]:
        return (clause.condition for policy in self.policies.policies for clause in policy.when.clauses())

    def _detail(self, finding: Mapping[str, Any], account: str, identity: str) -> dict[str, Any]:
        """Only what is known to name nobody, and what can be renamed."""
        detail = finding["detail"]
        kept = {name: detail[name] for name in _HARMLESS if name in detail}
        rule = detail.get("configRuleName")
        if rule is not None:
            kept["configRuleName"] = self.text("rule", rule)
            kept["configRuleARN"] = f"arn:aws:config:{finding['region']}:{account}:config-rule/{kept['configRuleName']}"
        if "resourceId" in detail:
            prefix, slash, _ = detail["resourceId"].rpartition("/")
            kept["resourceId"] = f"{prefix}{slash}{identity}"
        if "patch-baseline-id" in detail:
            kept["patch-baseline-id"] = self._baseline(detail["patch-baseline-id"])
        return kept | {name: self._texts(detail[name], {"annotation": "text"}) for name in _RESULTS if name in detail}

    def _patch(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        other = {**patch, "baseline": self._baseline(patch["baseline"])}
        if "baseline_expected" in patch:
            other["baseline_expected"] = self._baseline(patch["baseline_expected"])
        if "snapshot" in patch:
            other["snapshot"] = str(uuid.UUID(self._hash("snapshot", patch["snapshot"])[:32]))
        return other

    def _baseline(self, baseline: str) -> str:
        return baseline if self._named(baseline) else f"pb-{self._hash('baseline', baseline)[:17]}"

    def _texts(self, block: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
        return {name: self.text(kinds[name], value) if name in kinds else value for name, value in block.items()}

    def _hash(self, kind: str, value: str) -> str:
        return hmac.new(self.key, f"{kind}/{value}".encode(), hashlib.sha256).hexdigest()


_HARMLESS = ("resourceType", "compliance-type", "compliance-status", "severity", "last-runtime")
_RESULTS = ("newEvaluationResult", "oldEvaluationResult")


def _is_tag(condition: Condition) -> bool:
    return condition.path.steps[:2] == ("node", "tags") and len(condition.path.steps) == 3


def _operands(condition: Condition) -> list[Any]:
    operand = condition.operand
    return operand if isinstance(operand, list) else [operand]
