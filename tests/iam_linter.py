"""The IAM linter: parliament, which asks setuptools for one function that newer environments do not have."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def _resource_filename(package: str, name: str) -> str:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed"
    return str(Path(spec.origin).with_name(name))


def findings(policy: dict[str, Any]) -> list[Any]:
    """What parliament says of an identity policy."""
    if "pkg_resources" not in sys.modules and find_spec("pkg_resources") is None:
        stand_in = ModuleType("pkg_resources")
        stand_in.resource_filename = _resource_filename  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stand_in
    parliament = import_module("parliament")
    return list(parliament.analyze_policy_string(json.dumps(policy)).findings)
