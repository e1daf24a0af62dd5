"""Each wrong example is told with its code, each right one is not told at all, and the page shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchwarden.policy.compile import load_directory
from patchwarden.policy.examples import EXAMPLES, NOW, Example, page, told
from patchwarden.policy.problems import CODES

PAGE = Path(__file__).parents[2] / "docs" / "policy-codes.md"
THIN = {"PW704", "PW705"}
"""Most examples come without tests, which lint remarks."""
COMPANIONS = {"PW505": {"PW111"}}
"""What cannot be wrong alone."""


def codes(text: str, directory: Path, example: Example) -> set[str]:
    return {str(each.to_json()["code"]) for each in told(text, directory, example)}


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_wrong_example_is_told_with_its_code_and_a_right_one_not_at_all(code: str, tmp_path: Path) -> None:
    example = EXAMPLES[code]
    assert code in codes(example.wrong, tmp_path / "wrong", example)
    assert codes(example.wrong, tmp_path / "again", example) - THIN - {code} <= COMPANIONS.get(code, set())
    assert codes(example.right, tmp_path / "right", example) <= THIN - {code}
    assert load_directory(tmp_path / "right", now=NOW).document is not None


def test_every_code_has_an_example() -> None:
    assert list(EXAMPLES) == list(CODES)


def test_the_committed_page_is_the_one_that_is_made() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "stale: run `make docs`"
