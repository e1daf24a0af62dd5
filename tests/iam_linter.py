"""The IAM linter: parliament, as a function of one policy."""

from __future__ import annotations

import json
from typing import Any

from parliament import analyze_policy_string


def findings(policy: dict[str, Any]) -> list[Any]:
    """What parliament says of an identity policy."""
    return list(analyze_policy_string(json.dumps(policy)).findings)
