"""The IAM linter: parliament, as a function of one policy."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any


def findings(policy: dict[str, Any]) -> list[Any]:
    """What parliament says of an identity policy."""
    return list(import_module("parliament").analyze_policy_string(json.dumps(policy)).findings)
