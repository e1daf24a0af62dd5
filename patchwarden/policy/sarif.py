"""SARIF: problems and failed tests as code scanning tools read them.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from patchwarden.policy.problems import CODES

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
PAGE = "docs/policy-codes.md"


def sarif(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One SARIF run. A record is a problem or a failed test as its `to_json` tells it."""
    results = [_result(record) for record in records]
    used = sorted({result["ruleId"] for result in results})
    driver = {"name": "Patchwarden", "rules": [_rule(code) for code in used]}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(code: str) -> dict[str, Any]:
    return {
        "id": code,
        "shortDescription": {"text": CODES[code]},
        "help": {"text": f"{PAGE} shows a wrong and a right example of {code}."},
    }


def _result(record: Mapping[str, Any]) -> dict[str, Any]:
    file = PurePath(record["file"]).as_posix()
    place = {
        "artifactLocation": {"uri": file},
        "region": {"startLine": record["line"], "startColumn": record["column"]},
    }
    said = f"{record['what']}; {record['hint']}" if record["hint"] else record["what"]
    return {
        "ruleId": record["code"],
        "level": record["level"],
        "message": {"text": said},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"patchwarden/v1": _fingerprint(record["code"], file, record["what"])},
    }


def _fingerprint(*parts: str) -> str:
    """The same problem keeps its name when lines move above it."""
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
