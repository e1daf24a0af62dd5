"""Wiring: which adapter serves which port, by what a deployment sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from chalicelib import wiring
from chalicelib.adapters.policy_store import Bucket, Folder, Packed, Published
from chalicelib.wiring import Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWARDEN_POLICY_BUCKET", "patchwarden-policies")
    monkeypatch.setenv("PATCHWARDEN_TABLE", "patchwarden-prod")
    found = Settings.from_environment()
    assert (found.policy_bucket, found.table) == ("patchwarden-policies", "patchwarden-prod")


def test_without_a_bucket_the_packed_set_decides_and_nothing_can_be_published() -> None:
    assert isinstance(wiring.build(Settings(), quiet=True).policies, Packed)
    assert wiring.shelf(Settings()) is None


def test_with_a_bucket_the_published_set_is_followed() -> None:
    settings = Settings(policy_bucket="patchwarden-policies")
    assert isinstance(wiring.build(settings, quiet=True).policies, Published)
    assert isinstance(wiring.shelf(settings), Bucket)


def test_an_embedded_ledger_has_its_policies_beside_it(tmp_path: Path) -> None:
    settings = Settings(sqlite=str(tmp_path / "ledger.sqlite"), policy_bucket="patchwarden-policies")
    assert isinstance(wiring.build(settings, quiet=True).policies, Published)
    assert isinstance(wiring.shelf(settings), Folder)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_for_looking_takes_no_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWARDEN_POLICY_BUCKET", "patchwarden-policies")
    assert isinstance(wiring.local(None).policies, Packed)
    assert isinstance(wiring.local(str(tmp_path / "ledger.sqlite")).policies, Published)
