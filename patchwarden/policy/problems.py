"""Problems: everything that can be wrong with policy files, each with its place, its code and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


CODES: dict[str, str] = {
    "PW101": "The file cannot be read as YAML.",
    "PW102": "The file is larger than 1 MiB.",
    "PW103": "The file is nested more than 20 deep.",
    "PW104": "An anchor or alias: the same text would mean different things in different places.",
    "PW105": "The same key twice in one map: YAML would silently keep the last.",
    "PW106": "A word such as yes or off, which YAML 1.1 reads as a boolean.",
    "PW107": "A number such as 12:30, which YAML 1.1 reads in base 60.",
    "PW108": "A number that YAML reads as another one than is written: a leading zero, 0x, _ or .inf.",
    "PW109": "An account id without quotes, which YAML reads as a number.",
    "PW110": "A YAML tag such as !!python.",
    "PW111": "The file does not hold one map.",
    "PW112": "A key without a value.",
    "PW113": "A map key that is not a plain text.",
    "PW201": "A field that does not exist there.",
    "PW202": "A field that must be there is missing.",
    "PW203": "A value of the wrong type or size.",
    "PW204": "A word that is not one of the allowed ones.",
    "PW205": "A condition without an operator, or with several.",
    "PW206": "A duration that cannot be read.",
    "PW207": "A moment or day that cannot be read, or has no zone.",
    "PW208": "Two policies, two schedules or two baselines with the same id.",
    "PW301": "A path that is not JSONPath.",
    "PW302": "A path that is JSONPath, but not within the safe profile.",
    "PW303": "A path to a fact that does not exist.",
    "PW304": "An operator that does not fit the type of the fact.",
    "PW305": "A condition that can never be true: the fact never has this value.",
    "PW306": "A negative operator on a fact that may be missing, without if_missing.",
    "PW307": "An option that has no effect on this condition.",
    "PW401": "A guardrail that remediates.",
    "PW402": "An observe outside the band default: it would silently switch remediation off.",
    "PW403": "An emergency that does not expire.",
    "PW404": "An exemption without until, reason or approval.",
    "PW405": "An exemption longer than the organisation allows.",
    "PW406": "A field that has no effect with this action or operation.",
    "PW407": "A window that _set.yaml does not define.",
    "PW408": "A limit above the organisation's ceiling.",
    "PW409": "A document or a hook that _set.yaml does not allow.",
    "PW410": "A parameter that a policy may not set.",
    "PW411": "A field that needs another one beside it.",
    "PW412": "A policy that has ended.",
    "PW413": "An approval on a day to come.",
    "PW414": "A rollout that changes nothing, or names an account outside the scope.",
    "PW415": "Hooks beside something with which they do not run.",
    "PW416": "Waves that do not lead to all nodes, one after the other.",
    "PW417": "Named patches where none may be, or not as `patchwarden emergency start` wrote them.",
    "PW501": "A window, or the calendar of a schedule, that cannot be read.",
    "PW502": "A window that does not open, or a schedule that does not run, within 400 days.",
    "PW503": "A freeze that ends before it begins.",
    "PW504": "An account, unit or Region that is not well formed.",
    "PW505": "A directory without a usable _set.yaml.",
    "PW506": "A surge guard that could hold nothing.",
    "PW601": "Fewer tests than the organisation asks for.",
    "PW602": "Tests that show only one outcome.",
    "PW603": "A fixture that does not exist.",
    "PW604": "A fixture that cannot be used.",
    "PW605": "A test that expects a policy or window that does not exist.",
    "PW606": "A test that sets or unsets what is not a fact.",
    "PW607": "A test that does not find what it expects.",
    "PW701": "Conditions of one policy that never hold together.",
    "PW702": "A policy that can never decide: another one always stands before it.",
    "PW703": "Two policies of equal rank that want different things.",
    "PW704": "A policy that no fixture and no test makes match.",
    "PW705": "A condition that the tests never see both true and false.",
    "PW706": "An exemption that ends within 30 days.",
    "PW801": "A target that names none, or several, of all, tag and resource_group.",
    "PW802": "An account or Region of a schedule outside the scope of _set.yaml.",
    "PW803": "An exclusion that has no effect, or leaves nothing.",
    "PW804": "An override list that _set.yaml does not allow.",
    "PW805": "A pace that cannot be dealt out over as many accounts and units.",
    "PW901": "A rule of a baseline with none, or both, of approve_after_days and approve_until.",
    "PW902": "Something in a baseline that its operating system does not have.",
    "PW903": "A value of a filter that AWS's guide does not list for the operating system.",
    "PW904": "An account or Region of a baseline outside the scope of _set.yaml.",
    "PW905": "Two baselines for the same patch group, or two defaults, in one place.",
    "PW906": "A baseline that approves nothing, or approves and rejects the same patch.",
}
"""Codes are stable: one is never given a second meaning. 1 the file, 2 its shape, 3 conditions, 4 what a policy
wants, 5 _set.yaml, 6 tests and fixtures, 7 what is wrong between policies, 8 schedules, 9 baselines."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem at one place; `line` and `column` count from 1, in characters."""

    file: str
    line: int
    column: int
    code: str
    what: str
    hint: str = ""
    level: Level = Level.ERROR

    def text(self) -> str:
        """`file:line:column: CODE what; hint`, as editors and CI read it."""
        warning = "warning: " if self.level is Level.WARNING else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.code} {warning}{self.what}{hint}"

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "level": self.level.value,
            "what": self.what,
            "hint": self.hint,
        }


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` for the nearest of the known words; empty if none is near."""
    names = list(known)
    found = [name for name in names if name.lower() == word.lower()] or difflib.get_close_matches(
        word, names, n=1, cutoff=0.6
    )
    return f"did you mean {found[0]}?" if found else ""


def near_or_all(word: str, known: Iterable[str]) -> str:
    """The nearest known word, else all of them."""
    names = list(known)
    return near(word, names) or f"write one of {', '.join(names)}"
