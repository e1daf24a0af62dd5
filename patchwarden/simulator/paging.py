"""Paging: long answers in pages, with a token that only the same operation takes back."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from patchwarden.simulator.refusals import Refusal


def page(
    operation: str, items: Sequence[Any], request: Mapping[str, Any], *, most: int, limit: str = "MaxResults",
    wrong: str = "InvalidNextToken",
) -> tuple[Sequence[Any], dict[str, str]]:  # fmt: skip
    """The page that is asked for, and the `NextToken` member for the next one, if there is one.

    `most` is the size of a page if the request sets none under the name `limit`; `wrong` is the code under which a
    foreign token is refused.
    """
    try:
        start = _offset(operation, request.get("NextToken"))
    except ValueError as error:
        raise Refusal(wrong, "The specified token is not valid.") from error
    end = start + (request.get(limit) or most)
    return items[start:end], {"NextToken": _token(operation, end)} if end < len(items) else {}


def _token(operation: str, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{operation}/{offset}".encode()).decode()


def _offset(operation: str, token: str | None) -> int:
    """Where the page starts; ValueError for a token that is none."""
    if not token:
        return 0
    name, _, offset = base64.urlsafe_b64decode(token).decode().partition("/")
    if name != operation:
        raise ValueError(f"a token of {name}")
    return int(offset)
