"""Architecture: the page that shows every way in, the verb behind it and what it reaches, read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class WayIn:
    """A handler of app.py: what wakes it, the function of wiring it calls, the verb behind that, and its sentence."""

    name: str
    woken_by: str
    calls: str
    verb: str
    does: str


def ways_in() -> list[WayIn]:
    """Every handler, in the order of the file."""
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    verbs = _verbs()
    return [_way_in(node, verbs) for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]


def _way_in(function: ast.FunctionDef, verbs: dict[str, str]) -> WayIn:
    called = next(
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is(node.func.value, "wiring")
    )
    sentence = (ast.get_docstring(function) or "").splitlines()[0]
    return WayIn(function.name, _woken_by(function.decorator_list[0]), called, verbs.get(called, "wiring"), sentence)


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _woken_by(decorator: ast.expr) -> str:
    assert isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute), "a decorator of Chalice's"
    kind = decorator.func.attr
    if kind == "schedule":
        rate = decorator.args[0]
        assert isinstance(rate, ast.Call), "a Rate or a Cron"
        said = ast.unparse(rate).removeprefix("Rate(").rstrip(")").replace(", unit=Rate.", " ").lower()
        return f"the clock, every {said.removeprefix('1 ').rstrip('s') if said.startswith('1 ') else said}"
    return {"on_cw_event": "an event", "lambda_function": "a call", "on_sqs_message": "a queue"}.get(kind, kind)


def _verbs() -> dict[str, str]:
    """Which verb each function of wiring imports, and imports first, when it is called."""
    tree = ast.parse((ROOT / "chalicelib" / "wiring.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name: verb for function in functions if (verb := next(_imports(function), None))}


def _imports(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and node.module == "chalicelib":
            yield from (alias.name for alias in node.names)


def architecture() -> str:
    """The page, as Markdown."""
    ways = ways_in()
    rows = [f"| `{way.name}` | {way.woken_by} | `chalicelib/{_place(way.verb)}` | {way.does} |" for way in ways]
    return "\n".join([_HEAD, *_drawn(ways), "```", "", *_TABLE, *rows, _TAIL])


def _place(verb: str) -> str:
    """A verb is a file, or a folder where it takes several."""
    return f"{verb}/" if (ROOT / "chalicelib" / verb).is_dir() else f"{verb}.py"


def _drawn(ways: list[WayIn]) -> Iterator[str]:
    yield "    subgraph member [each member account and Region]"
    yield from (f"        {line}" for line in _MEMBER)
    yield "    end"
    yield "    subgraph hub [the hub account]"
    yield from (f"        {line}" for line in _HUB)
    yield from (f'        {way.name}["{way.name}"] --> {way.verb}_' for way in ways)
    yield from (f'        {verb}_(["{verb}"]) --> ledger' for verb in sorted({way.verb for way in ways}))
    yield "    end"
    yield from (f"    bus --> {way.name}" for way in ways if way.woken_by == "an event")
    yield from (f"    clock --> {way.name}" for way in ways if way.woken_by.startswith("the clock"))
    yield from (f"    action -->|asks and waits| {way.name}" for way in ways if way.woken_by == "a call")
    yield "    rules -->|forward| bus"
    yield "    dispatch_ -->|starts as patchwarden-member| runbooks"
    yield "    schedules_ -->|starts over accounts, units and Regions| runbooks"
    yield from (f"    {verb}_ -.->|reads as patchwarden-member| nodes" for verb in ("intake", "schedules", "sweep"))


_MEMBER = (
    'nodes["nodes: EC2 and hybrid"]',
    'rules["EventBridge rules patchwarden-on-…"]',
    'runbooks["runbooks, as patchwarden-automation"] --> nodes',
    'config["Config rule on patch compliance"] --> rules',
    'config -->|remediation| action["Patchwarden-RemediateFromConfig"]',
    "nodes -->|compliance and state| rules",
    "runbooks -->|status| rules",
    'rules -->|what cannot be delivered| undelivered[("patchwarden-undelivered")]',
)
_HUB = (
    'bus["event bus"]',
    'clock["clock"]',
    'ledger[("ledger: DynamoDB")]',
    'policies[("policy sets: S3")]',
    'api["APIHandler: REST and pages"] -->|reads| ledger',
    "policies --> intake_",
    'kept[("evidence: S3 under Object Lock")]',
    "evidence_ -->|exports and signs| kept",
)
_HEAD = """# Architecture

Drawn from `app.py` and `chalicelib/wiring.py` by `make docs`; do not edit by hand.

A node turns non-compliant, and Config or Systems Manager says so. The member account's rules forward that to the hub.
The hub decides by the policies, writes the decision, and starts one execution of a runbook in the node's own account.
The runbook ends in a scan, and only what that scan counts makes the node resolved. What events miss, the sweep finds.

```mermaid
flowchart LR"""
_TABLE = ("| way in | woken by | verb | what it does |", "|---|---|---|---|")
_TAIL = """
- **Every way in is a Lambda function**, with a role of its own, from one zip ([permissions](permissions.md)).
- **The verbs know no AWS.** They ask ports (`chalicelib/ports/`); `chalicelib/wiring.py` says which adapter serves
  which port. The same verbs run over memory in tests and over a file on a laptop.
- **The ledger is the only memory.** A line is written before the act it tells of, and again with the answer
  ([states](states.md)).
- **Two ways back from a member**: events, which are quick and may be lost, and the sweep, which is slow and is not.
  An account outside the organisation has the second only ([deploy](deploy.md)).
- **Config's remediation action** asks `remediate` and waits for the outcome, so that Config's own status tells the
  truth ([Config](config-remediation.md)).
- **`patchwarden doctor`** looks whether all of this is there ([deploy](deploy.md)).
"""
