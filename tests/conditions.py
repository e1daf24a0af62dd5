"""Conditions and Rules of a CloudFormation template, evaluated: what is made of it with these parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PSEUDO = re.compile(r"AWS::\w+\Z")


@dataclass(frozen=True)
class Made:
    """A template with its parameters; short forms without `Fn::`, as a loader makes of `!Ref` and the like."""

    template: Mapping[str, Any]
    given: Mapping[str, str]

    def value(self, name: str) -> str:
        """What a parameter is; KeyError where nobody gives one that has no default."""
        if name in self.given:
            return self.given[name]
        return str(self.template["Parameters"][name]["Default"])

    def holds(self, said: Any) -> bool:
        """Whether an expression of Conditions or Rules is true. https://docs.aws.amazon.com/AWSCloudFormation/latest/
        UserGuide/intrinsic-function-reference-conditions.html"""
        match said:
            case {"Equals": [one, other]}:
                return self._told(one) == self._told(other)
            case {"And": parts}:
                return all(self.holds(part) for part in parts)
            case {"Or": parts}:
                return any(self.holds(part) for part in parts)
            case {"Not": [part]}:
                return not self.holds(part)
            case {"Condition": name}:
                return self.condition(name)
        raise AssertionError(f"no condition: {said}")

    def _told(self, said: Any) -> str:
        return self.value(said["Ref"]) if isinstance(said, dict) else str(said)

    def condition(self, name: str) -> bool:
        return self.holds(self.template["Conditions"][name])

    def refused(self) -> list[str]:
        """Why CloudFormation refuses these parameters."""
        rules = self.template.get("Rules", {}).values()
        spoken = [rule for rule in rules if self.holds(rule["RuleCondition"])]
        return [
            one["AssertDescription"] for rule in spoken for one in rule["Assertions"] if not self.holds(one["Assert"])
        ]

    def resources(self) -> dict[str, Any]:
        """What is made, with every `If` decided."""
        made = self.template["Resources"].items()
        return {
            name: self.decided(one) for name, one in made if "Condition" not in one or self.condition(one["Condition"])
        }

    def decided(self, value: Any) -> Any:
        match value:
            case {"If": [name, yes, no]}:
                return self.decided(yes if self.condition(name) else no)
            case dict():
                told = {key: self.decided(item) for key, item in value.items()}
                return {key: item for key, item in told.items() if item != {"Ref": "AWS::NoValue"}}
            case list():
                return [told for item in value if (told := self.decided(item)) != {"Ref": "AWS::NoValue"}]
        return value

    def dangling(self) -> set[str]:
        """Names that what is made refers to, and that are neither made nor parameters."""
        made = self.resources()
        known = {*made, *self.template["Parameters"]}
        return {name for one in made.values() for name in _named(one) if name not in known and not PSEUDO.match(name)}


def _named(value: Any) -> Iterator[str]:
    match value:
        case {"Ref": name}:
            yield name
        case {"GetAtt": name}:
            yield name.split(".")[0]
        case {"Sub": str(text)}:
            yield from (name.split(".")[0] for name in re.findall(r"\$\{([\w:.]+)\}", text))
        case dict():
            yield from (
                value.get("DependsOn", [])
                if isinstance(value.get("DependsOn"), list)
                else [name for name in (value.get("DependsOn"),) if name]
            )
            for item in value.values():
                yield from _named(item)
        case list():
            for item in value:
                yield from _named(item)
