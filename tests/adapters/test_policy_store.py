"""Where the compiled policy set comes from, and what happens where there is none that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib.adapters.policy_store import Fixed, Packed, load
from chalicelib.core.errors import PolicyError
from patchwarden.policy.compile import compiled_text

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def text() -> str:
    compiled, problems = compiled_text(POLICIES)
    assert compiled, problems
    return compiled


@pytest.fixture
def packed(tmp_path: Path, text: str) -> Packed:
    (tmp_path / "policies.json").write_text(text, encoding="utf-8")
    return Packed(tmp_path / "policies.json")


def test_the_set_beside_the_code_is_in_force(packed: Packed, text: str) -> None:
    assert packed.active().digest == json.loads(text)["digest"]


def test_the_set_is_loaded_once(packed: Packed, tmp_path: Path) -> None:
    first = packed.active()
    (tmp_path / "policies.json").unlink()
    assert packed.active() is first


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    missing = Packed(tmp_path / "nowhere.json")
    with pytest.raises(PolicyError, match=r"nowhere\.json cannot be read: No such file"):
        missing.active()


@pytest.mark.parametrize("text", ["", "{", "\ufeff{}", "[]", "{}", '{"version": 99}', "\x00"])
def test_what_is_no_compiled_set_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "policies.json").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError):
        Packed(tmp_path / "policies.json").active()


def test_a_set_that_was_changed_after_compiling_is_refused(text: str) -> None:
    document = json.loads(text)
    document["policies"][0]["priority"] = 999_999
    with pytest.raises(PolicyError, match="digest"):
        load(json.dumps(document).encode())


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(PolicyError):
        load(b"\xff\xfe\xfa")


def test_a_set_that_fails_is_asked_for_again(tmp_path: Path, text: str) -> None:
    packed = Packed(tmp_path / "policies.json")
    with pytest.raises(PolicyError):
        packed.active()
    (tmp_path / "policies.json").write_text(text, encoding="utf-8")
    assert packed.active().policies


def test_a_fixed_set_is_the_one_that_was_given(packed: Packed) -> None:
    assert Fixed(packed.active()).active() is packed.active()
