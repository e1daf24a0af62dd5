"""Fields: how one value is written in a policy file, a fixture or `_set.yaml`, and its JSON Schema."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import parse_moment
from chalicelib.core.windows import parse_duration

ID = r"[a-z0-9]+(-[a-z0-9]+)*\Z"
NOBODY = "none"
"""What a test writes for `no policy`, so no policy is called so."""

_SHARE = re.compile(r"([1-9]\d{0,2})(%?)\Z", re.ASCII)


def _wrong(code: str, what: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError(code, "{what}", {"what": what, "hint": hint})


def _duration(value: object) -> timedelta:
    try:
        span = parse_duration(value)
    except PolicyError as error:
        raise _wrong("PW206", f"{value!r} is not a duration", "write a whole number and s, m, h or d: 90m") from error
    return span


def _moment(value: object) -> datetime:
    try:
        return parse_moment(str(value))
    except ValueError as error:
        hint = "write day, time and zone: 2027-03-31T00:00:00Z"
        raise _wrong("PW207", f"{value!r} is not a moment with a zone", hint) from error


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise _wrong("PW207", f"{value!r} is not a day", "write year, month and day: 2026-11-02") from error


def _share(value: object) -> str:
    """SSM's text for a number or share of nodes, 1 to 7 characters; at most 100%."""
    text = str(value)
    found = _SHARE.match(text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise _wrong("PW203", f"{text!r} is neither a number of nodes nor a share", "write 5 or 10%")
    return text


def _most(value: object) -> int | str:
    """A number of nodes, or a share of a group as text such as `25%`."""
    found = _SHARE.match(str(value)) if isinstance(value, str) and value.endswith("%") else None
    if found and int(found[1]) <= 100:
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return value
    raise _wrong("PW203", f"{value!r} is neither a number of nodes nor a share of the group", "write 1 or 25%")


def _percent(value: object) -> str:
    text = str(value)
    if not text.endswith("%"):
        raise _wrong("PW203", f"{text!r} is not a share", "write 20%")
    return _share(value)


def is_id(text: str) -> bool:
    """Whether a policy may be called so."""
    return re.match(ID, text) is not None and len(text) <= 64 and text != NOBODY


def _id(value: object) -> str:
    if is_id(str(value)):
        return str(value)
    raise _wrong("PW203", f"{value!r} cannot be an id", "write small letters, digits and single hyphens: prod-window")


def _scalar(value: object) -> object:
    if isinstance(value, str | int | float):
        return value
    raise _wrong("PW203", f"a {_kind(value)} cannot stand here", "write one text, number or boolean")


def _true(value: object) -> bool:
    if value is True:
        return True
    raise _wrong("PW203", "only true can stand here", "the opposite of exists is absent, and of absent exists")


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "map"


def _texts(value: object) -> list[str]:
    """An Automation parameter: 1 to 50 texts of 1 to 512 characters; one text may stand alone."""
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and 1 <= len(texts) <= 50 and all(map(_parameter, texts)):
        return texts
    raise _wrong("PW203", "a parameter is a text or a list of 1 to 50 texts", "quote numbers; leave out what is empty")


def _version(value: object) -> str:
    if isinstance(value, str) and re.match(r"[1-9][0-9]*\Z", value, re.ASCII):
        return value
    raise _wrong("PW203", f"{value!r} pins no version", "name one, in quotes: version: '3'")


def _document(value: object) -> str:
    if isinstance(value, str) and re.match(r"[a-zA-Z0-9_.:/-]{3,128}\Z", value, re.ASCII):
        return value
    raise _wrong("PW203", f"{value!r} cannot be the name of a document", "write its name, or the ARN of a shared one")


def _override_list(value: object) -> str:
    if isinstance(value, str) and re.match(r"s3://[^/\s]+/\S+\Z", value) and _parameter(value):
        return value
    raise _wrong("PW203", f"{value!r} is no list of patches in a bucket", "write s3://bucket/key, at most 512 long")


def _digest(value: object) -> str:
    if isinstance(value, str) and re.match(r"[0-9a-f]{64}\Z", value):
        return value
    remedy = "a list is named by its sha256 alone, never by a URL: `patchwarden emergency start` writes it"
    raise _wrong("PW203", f"{value!r} is no digest of an override list", remedy)


def _parameter(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(_duration), _text_schema("^[0-9]+[smhd]$", "90m")]
Moment = Annotated[
    datetime, BeforeValidator(_moment), _text_schema("[T ][0-9:.]+(Z|[+-][0-9:]+)$", "2027-03-31T00:00:00Z")
]
Day = Annotated[date, BeforeValidator(_day), _text_schema("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2026-11-02")]
_SHARE_SCHEMA = {"type": ["string", "integer"], "pattern": "^([1-9][0-9]{0,2}|[1-9][0-9]?%|100%)$"}
Share = Annotated[str, BeforeValidator(_share), WithJsonSchema({**_SHARE_SCHEMA, "examples": ["10%"]})]
Percent = Annotated[
    str, BeforeValidator(_percent), WithJsonSchema({"type": "string", "pattern": "^([1-9][0-9]?|100)%$"})
]
Id = Annotated[str, BeforeValidator(_id), _text_schema("^[a-z0-9]+(-[a-z0-9]+)*$", "prod-window")]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Number = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["number", "string"]})]
Yes = Annotated[bool, BeforeValidator(_true), WithJsonSchema({"const": True})]
Texts = Annotated[
    list[str], BeforeValidator(_texts), WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})
]
Version = Annotated[str, BeforeValidator(_version), _text_schema("^[1-9][0-9]*$", "3")]
DocumentName = Annotated[str, BeforeValidator(_document), _text_schema("^[a-zA-Z0-9_.:/-]{3,128}$", "Example-Repair")]
OverrideList = Annotated[
    str, BeforeValidator(_override_list), _text_schema("^s3://[^/]+/.+$", "s3://example-patch-lists/2026-11.yaml")
]
Digest = Annotated[str, BeforeValidator(_digest), _text_schema("^[0-9a-f]{64}$", 64 * "0")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Most = Annotated[
    int | str,
    BeforeValidator(_most),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}%$"}]}),
]
Many = Annotated[int, Field(ge=1, le=100_000)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
