"""The profile: which JSONPath is safe, checked on the tokens and the tree of jsonpath-ng, and compiled from them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext.parser import ExtendedJsonPathLexer, parse

from chalicelib.core.paths import LONGEST, Fault, Keep, PathError
from chalicelib.core.vocabulary import EVERY

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test in a filter: `@.name operator value`; without an operator it asks whether the name is there."""

    name: str
    operator: str | None = None
    value: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A safe path: its steps (a wildcard or filter is EVERY), its filter as a test, and what that compares."""

    steps: tuple[str | int, ...]
    comparisons: tuple[Comparison, ...]
    keep: Keep | None


_REFUSED_TOKENS = {
    "DOUBLEDOT": ("`..` walks everything", "name the whole path"),
    "NAMED_OPERATOR": ("a function in back quotes is not allowed", "use an operator such as count beside the path"),
    "WHERE": ("`where` is not allowed", "use a filter such as [?@.class == 'Security']"),
    "WHERENOT": ("`wherenot` is not allowed", "use a filter such as [?@.class != 'Security']"),
    "SORT_DIRECTION": ("sorting is not allowed", "a condition needs no order"),
    "&": ("a single & is not allowed", "write &&"),
    "|": ("a single | is not allowed", "write ||, or use the group any"),
    "+": ("arithmetic is not allowed", "compare the field itself"),
    "-": ("arithmetic is not allowed", "compare the field itself, and quote a name that has a hyphen"),
    ":": ("a slice is not allowed", "use [*] or a filter"),
    ",": ("a union is not allowed", "write one condition for each"),
}
_REFUSED_OPERATORS = {
    "=~": ("a regular expression is not allowed", "use starts_with, ends_with or glob beside the path"),
    "=": ("= is not a comparison", "write =="),
}


def checked(text: str) -> Checked:
    """The parsed path; PathError for what cannot be read or is outside the profile."""
    if len(text) > LONGEST:
        raise PathError(Fault.UNSAFE, f"a path of {len(text)} characters is too long", f"use at most {LONGEST}")
    if not text.startswith("$") or not text.isprintable():
        raise PathError(Fault.SYNTAX, f"{text!r} does not start at the facts", "start it with $.")
    try:
        _check_tokens(list(ExtendedJsonPathLexer().tokenize(text)))
        tree = parse(text)
    except JSONPathError as error:
        raise PathError(Fault.SYNTAX, f"{text!r} cannot be read: {error}", "see RFC 9535 for the syntax") from error
    comparisons: list[Comparison] = []
    steps = tuple(_steps(tree, comparisons))
    filters = [_all(node.expressions) for node in _spine(tree) if _name(node) == "Filter"]
    return Checked(steps, tuple(comparisons), filters[0] if filters else None)


def _check_tokens(tokens: list[Any]) -> None:
    """What the tree no longer shows: quotes, and operators that it would read as something else."""
    for before, token in zip([None, *tokens], tokens, strict=False):
        refused = _REFUSED_TOKENS.get(token.type)
        if token.type == "FILTER_OP":
            refused = _REFUSED_OPERATORS.get(token.value)
        if token.type == "ID" and not getattr(token, "quoted", False):
            refused = _bare(token.value, compared=before is not None and before.type == "FILTER_OP")
        if refused:
            raise PathError(Fault.UNSAFE, *refused)


def _bare(word: str, *, compared: bool) -> tuple[str, str] | None:
    if compared:
        return f"{word!r} is a bare word", f"quote it: '{word}'"
    if "-" in word:
        return f"{word!r} has a hyphen", f"quote it: ['{word}']"
    return None


def _name(node: object) -> str:
    return type(node).__name__


def _spine(tree: Any) -> list[Any]:
    """The nodes of a path from left to right."""
    nodes: list[Any] = []
    while _name(tree) == "Child":
        nodes.append(tree.right)
        tree = tree.left
    return [tree, *reversed(nodes)]


def _steps(tree: Any, comparisons: list[Comparison]) -> Iterator[str | int]:
    root, *nodes = _spine(tree)
    if _name(root) != "Root":
        raise PathError(Fault.UNSAFE, f"{root} cannot start a path", "start it with $.")
    for node in nodes:
        if _name(node) == "Filter":
            for expression in node.expressions:
                _compare(expression, comparisons)
            yield EVERY
        else:
            yield _step(node)


def _step(node: Any) -> str | int:
    if _name(node) == "Fields" and len(node.fields) == 1 and node.fields[0] not in ("*", EVERY):
        return str(node.fields[0])
    if _name(node) == "Index" and len(node.indices) == 1 and node.indices[0] >= 0:
        return int(node.indices[0])
    if _name(node) == "Wildcard" or (_name(node) == "Slice" and node.start is node.end is node.step is None):
        return EVERY
    raise PathError(Fault.UNSAFE, f"{node} is not allowed in a path", "use names, ['quoted names'], [0], [*] and [?…]")


def _compare(node: Any, found: list[Comparison]) -> None:
    if _name(node) in ("And", "Or"):
        for operand in node.operands:
            _compare(operand, found)
        return
    if _name(node) != "Expression":
        raise PathError(Fault.UNSAFE, f"{node} is not allowed in a filter", "compare a field: [?@.class == 'Security']")
    name = _compared(node.target)
    if node.op in (None, "!"):
        found.append(Comparison(name))
    elif node.op in COMPARISONS and (node.value is None or isinstance(node.value, str | int | float)):
        found.append(Comparison(name, node.op, node.value))
    else:
        raise PathError(
            Fault.UNSAFE, f"{node} compares with more than a value", "compare with a quoted text or a number"
        )


def _compared(target: Any) -> str:
    """The one name after `@.`."""
    root, *nodes = _spine(target)
    if _name(root) != "This" or len(nodes) > 1 or any(_name(node) != "Fields" for node in nodes):
        raise PathError(Fault.UNSAFE, f"{target} is not a field of the item", "write @. and one name")
    if not nodes:
        raise PathError(Fault.UNSAFE, "@ alone is the whole item", "write @. and one name")
    return str(_step(nodes[0]))


def _all(nodes: list[Any]) -> Keep:
    tests = [_keep(node) for node in nodes]
    return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)


def _keep(node: Any) -> Keep:
    """The checked expression as a test of an item that has every field it names, of the type that it compares."""
    if _name(node) == "And":
        return _all(node.operands)
    if _name(node) == "Or":
        tests = [_keep(operand) for operand in node.operands]
        return lambda item: any(test(item) for test in tests)
    name, value = _compared(node.target), node.value
    if node.op in (None, "!"):
        return lambda item: (name in item) is (node.op is None)
    compare = COMPARISONS[node.op]
    return lambda item: compare(item[name], value)
