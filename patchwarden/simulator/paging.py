"""Paging: long answers in pages, with a token that only the same operation takes back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from patchwarden.simulator.refusals import Refusal


def page(
    operation: str, items: Sequence[Any], request: Mapping[str, Any], *, most: int, limit: str = "MaxResults"
) -> tuple[Sequence[Any], dict[str, str]]:
    """The page that is asked for, and the `NextToken` member for the next one, if there is one.

    `most` is the size of a page if the request sets none under the name `limit`.
    """
    start = _offset(operation, request.get("NextToken"))
    end = start + (request.get(limit) or most)
    return items[start:end], {"NextToken": _token(operation, end)} if end < len(items) else {}


def _token(operation: str, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{operation}/{offset}".encode()).decode()


def _offset(operation: str, token: str | None) -> int:
    if not token:
        return 0
    try:
        name, _, offset = base64.urlsafe_b64decode(token).decode().partition("/")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _invalid() from error
    if name != operation or not offset.isdigit():
        raise _invalid()
    return int(offset)


def _invalid() -> Refusal:
    return Refusal("InvalidNextToken", "The specified token is not valid.")
