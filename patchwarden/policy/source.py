"""Sources: one YAML file as plain data, with the place of every key and value, and YAML's own traps refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patchwarden.policy.problems import Level, Problem

LARGEST = 1024 * 1024
DEEPEST = 20

Location = tuple[str | int, ...]
"""Where in the data: keys and list positions from the top, as pydantic names them."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_ACCOUNT = re.compile(r"\d{12}\Z", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?\Z", re.ASCII)
_PLAIN_WORDS: dict[Location, str] = {("mode",): "off"}
"""Where one of YAML 1.1's boolean words is a word of ours."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, both counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Source:
    """What a file says. `data` is None if it could not be read at all; `shown` is the file as problems name it."""

    shown: str
    name: str
    data: Any = None
    values: dict[Location, Mark] = field(default_factory=dict)
    keys: dict[Location, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def at(self, where: Location) -> Mark:
        """The place of a value, or of the nearest one around it."""
        while where not in self.values and where:
            where = where[:-1]
        return self.values.get(where, Mark(1, 1))

    def at_key(self, where: Location) -> Mark:
        """The place of the key that leads to a value, or of the value in a list."""
        return self.keys.get(where) or self.at(where)

    def add(self, code: str, where: Location | Mark, what: str, hint: str = "", level: Level = Level.ERROR) -> None:
        mark = where if isinstance(where, Mark) else self.at(where)
        self.problems.append(Problem(self.shown, mark.line, mark.column, code, what, hint, level))

    def add_at_key(self, code: str, where: Location, what: str, hint: str = "") -> None:
        self.add(code, self.at_key(where), what, hint)


def read(path: Path) -> Source:
    """The file as a source, with whatever is wrong with its YAML or JSON among its problems."""
    source = Source(str(path), path.name)
    try:
        if path.stat().st_size > LARGEST:
            source.add("PW102", Mark(1, 1), "the file is larger than 1 MiB", "part it into several files")
            return source
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source.add("PW101", Mark(1, 1), f"the file is not UTF-8: byte {error.start} cannot be read", "save it as UTF-8")
        return source
    except OSError as error:
        source.add("PW101", Mark(1, 1), f"the file cannot be opened: {error.strerror}")
        return source
    (_read_json if path.suffix == ".json" else _read_yaml)(source, text)
    return source


def _read_json(source: Source, text: str) -> None:
    """JSON has no traps, and no places: all its problems stand at the top."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        source.add("PW101", Mark(error.lineno, error.colno), f"this is not JSON: {error.msg}")
        return
    except RecursionError:
        source.add("PW103", Mark(1, 1), f"this is nested more than {DEEPEST} deep", "no fixture needs that")
        return
    if isinstance(data, dict):
        source.data = data
    else:
        source.add("PW111", Mark(1, 1), "the file does not hold a map", "start with {")


def _read_yaml(source: Source, text: str) -> None:
    try:
        if _composable(source, text):
            _compose(source, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        what = " ".join(filter(None, (error.context, error.problem)))
        source.add("PW101", place, f"this is not YAML: {what}", _remedy(text, mark))
    except yaml.YAMLError as error:
        source.add("PW101", Mark(1, 1), f"this is not YAML: {str(error).splitlines()[0]}", "remove what is no text")


_STARTS = {
    "\t": "indent with spaces: YAML allows no tabs",
    "@": "quote the whole text: YAML allows no @ at its start, nor a path with a filter in braces",
    "`": "quote the whole text",
    "%": "quote the whole text",
}


def _remedy(text: str, mark: Any) -> str:
    at = text[mark.index : mark.index + 1] if mark else ""
    return _STARTS.get(at, "look for a missing quote, colon or indentation")


def _composable(source: Source, text: str) -> bool:
    """Whether the events hold nothing that would grow, recur or run when composed."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        refused = _refused(event, depth, documents)
        if refused:
            source.add(refused[0], _mark(event), *refused[1:])
            return False
    return True


def _refused(event: Any, depth: int, documents: int) -> tuple[str, str, str] | None:
    if depth > DEEPEST:
        return "PW103", f"this is nested more than {DEEPEST} deep", "no policy needs that"
    if isinstance(event, yaml.NodeEvent) and event.anchor:
        return "PW104", f"the anchor or alias {event.anchor!r} is not allowed", "write the value out in each place"
    if getattr(event, "tag", None):
        return "PW110", f"the tag {event.tag!r} is not allowed", "write the plain value"
    if documents > 1:
        return "PW111", "the file holds a second document", "one policy, one file: remove ---"
    return None


def _mark(node: Any) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _compose(source: Source, text: str) -> None:
    node = yaml.compose(text, Loader=_Loader)
    if not isinstance(node, yaml.MappingNode):
        source.add("PW111", _mark(node) if node else Mark(1, 1), "the file does not hold a map", "start with id: …")
        return
    source.data = _construct(source, node, ())


def _construct(source: Source, node: Any, where: Location) -> Any:
    source.values[where] = _mark(node)
    if isinstance(node, yaml.MappingNode):
        return {key: _construct(source, value, (*where, key)) for key, value in _pairs(source, node, where)}
    if isinstance(node, yaml.SequenceNode):
        return [_construct(source, item, (*where, number)) for number, item in enumerate(node.value)]
    return _scalar(source, node, where)


def _pairs(source: Source, node: Any, where: Location) -> Iterator[tuple[str, Any]]:
    """Keys are the text that is written: `on` is a word here, not a boolean."""
    seen: dict[str, Mark] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            source.add("PW113", _mark(key), "a key must be a plain text", "quote it, or check the braces")
        elif key.value in seen:
            what = f"{key.value!r} stands here a second time, first on line {seen[key.value].line}"
            source.add("PW105", _mark(key), what, "remove one of the two")
        else:
            seen[key.value] = source.keys[*where, key.value] = _mark(key)
            yield key.value, value


def _scalar(source: Source, node: Any, where: Location) -> Any:
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "null":
        name = where[-1] if where and isinstance(where[-1], str) else "this item"
        source.add("PW112", where, f"{name} has no value", "give it one, or remove it")
        return None
    if kind == "bool":
        return _boolean(source, text, where)
    if kind in ("int", "float"):
        return _number(source, text, where, kind)
    return text


def _boolean(source: Source, text: str, where: Location) -> bool | str:
    if text in ("true", "false"):
        return text == "true"
    if _PLAIN_WORDS.get(where) == text:
        return text
    meant = "true" if text.lower() in ("y", "yes", "on", "true") else "false"
    source.add("PW106", where, f"YAML 1.1 reads {text} as {meant}", f"write {meant}, or quote it: '{text}'")
    return text


def _number(source: Source, text: str, where: Location, kind: str) -> int | float | str:
    if _ACCOUNT.match(text):
        source.add("PW109", where, f"the account id {text} is read as a number", f"quote it: '{text}'")
        return text
    if ":" in text:
        source.add("PW107", where, f"YAML reads {text} as a number in base 60", f"quote it, or write 90m: '{text}'")
        return text
    if kind == "int" and _DECIMAL.match(text):
        return int(text)
    if kind == "float" and _FLOAT.match(text):
        return float(text)
    source.add("PW108", where, f"YAML does not read {text} as the number that is written", f"quote it: '{text}'")
    return text
