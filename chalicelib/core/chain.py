"""The hash chain: canonical JSON, and the hash that binds each line of a trail to the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

GENESIS = "0" * 64

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8, no NaN."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """sha256 over the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def link(previous: str, line: Mapping[str, Any]) -> str:
    """The hash of a line: sha256(previous hash + canonical JSON of the line without its own hash)."""
    body = dict(line)
    body.pop("hash", None)
    return hashlib.sha256((previous + canonical(body)).encode()).hexdigest()
