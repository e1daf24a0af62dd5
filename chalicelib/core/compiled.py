"""The compiled document: its version, its digests, and how its parts are read strictly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.chain import digest
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import parse_moment

VERSION = 1
"""The format of the document; one of another version is refused, not guessed at."""

NONE = type(None)
Kind = type | tuple[type, ...] | frozenset[str]
"""What may stand there: a type, one of several types, or one of some words."""

Shape = Mapping[str, Kind]


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest that a compiled document must carry: over all of it but the digest."""
    return digest({name: value for name, value in document.items() if name != "digest"})


def digest_of_policy(policy: Mapping[str, Any]) -> str:
    """The digest of a compiled policy's meaning: it does not change when the file moves or a comment is added."""
    when = {
        group: [{name: value for name, value in clause.items() if name != "line"} for clause in clauses]
        for group, clauses in policy["when"].items()
    }
    return digest({**{name: value for name, value in policy.items() if name != "origin"}, "when": when})


def exactly(value: Any, where: str, shape: Shape) -> dict[str, Any]:
    """The map, if it has exactly these names with values of these kinds; PolicyError otherwise."""
    if not isinstance(value, dict):
        raise PolicyError(f"the policy set is malformed: {where} cannot be {value!r:.60}")
    if value.keys() != shape.keys():
        odd = ", ".join(sorted(map(str, value.keys() ^ shape.keys())))
        raise PolicyError(f"the policy set is malformed: {where} lacks, or does not know, {odd:.120}")
    for name, kind in shape.items():
        if not _is(value[name], kind):
            raise PolicyError(f"the policy set is malformed: {name} of {where} cannot be {value[name]!r:.60}")
    return value


def with_defaults(value: Any, defaults: Mapping[str, Any]) -> Any:
    """The map with what a set of an earlier release did not know yet; anything else as it is."""
    return {**defaults, **value} if isinstance(value, dict) else value


def texts_by(value: Mapping[str, Any], names: frozenset[str], where: str) -> dict[str, str]:
    """A map from some of these names to texts that are not empty; PolicyError otherwise."""
    wrong = [name for name, text in value.items() if name not in names or not isinstance(text, str) or not text]
    if wrong:
        raise PolicyError(f"the policy set is malformed: {where} cannot have {wrong[0]!r:.40}")
    return dict(value)


def _is(value: object, kind: Kind) -> bool:
    if isinstance(kind, frozenset):
        return isinstance(value, str) and value in kind
    return isinstance(value, kind) and (kind in (bool, object) or not isinstance(value, bool))


def seconds(value: int | None) -> timedelta | None:
    """A stored duration; PolicyError if it is negative."""
    if value is not None and value < 0:
        raise PolicyError(f"the policy set is malformed: {value} is no duration")
    return None if value is None else timedelta(seconds=value)


def moment_of(text: str | None) -> datetime | None:
    """A stored moment, or None; ValueError if it is none."""
    return None if text is None else parse_moment(text)
