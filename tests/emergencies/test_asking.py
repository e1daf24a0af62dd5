"""What a person mistypes at three in the morning is one sentence with the remedy, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chalicelib.core.moments import parse_moment
from chalicelib.core.overrides import Named
from patchwarden.cli import cli
from patchwarden.emergencies.asking import wanted
from patchwarden.emergencies.commands import nobody
from patchwarden.emergencies.radius import Radius
from patchwarden.when import read
from tests.sets import ledger_file

KB = ("--kb", "KB5035849")
ALL = ("--scope", "all")


def start(folder: Path, *words: str) -> Result:
    ledger = folder / "ledger.sqlite"
    ledger_file(ledger)
    given = ["--ledger", str(ledger), "emergency", "start", "--because", "now", "--policies", str(folder), *words]
    return CliRunner().invoke(cli, given, prog_name="patchwarden")


@pytest.mark.parametrize(("words", "sentence"), [
    ((*ALL,), "say what to install: --cve CVE-2026-12345, --kb KB5035849 or --package name=version"),
    ((*KB,), "Missing option '--scope'"),
    ((*ALL, "--kb", "5035"), "is no KB number: write it like KB5035849"),
    ((*ALL, "--cve", "2026-12345"), "write it like CVE-2026-12345"),
    ((*ALL, "--package", "openssl"), "names no version: write openssl=3.2.2-12"),
    ((*ALL, "--package", "xz=1", "--package", "xz=2"), "override list cannot say which node gets which"),
    ((*ALL, "--package", "xz=1@A 1", "--package", "xz=2@A 1"), "xz has two versions for A 1"),
    ((*ALL, "--package", "xz=1@"), "names no operating system"),
    ((*KB, "--scope", "prod"), "tag:Environment=prod"),
    ((*KB, "--scope", "all", "--scope", "region=eu-west-1"), "all alone"),
    ((*KB, *ALL, "--waves", "100%"), "one wave is no order"),
    ((*KB, *ALL, "--waves", "canary, 100%"), "'canary' is no wave"),
    ((*KB, *ALL, "--waves", "1 1h 2h, 100%"), "is no wave: write who, how long it soaks"),
    ((*KB, *ALL, "--waves", "1 1x, 100%"), "the duration '1x' cannot be read"),
    ((*KB, *ALL, "--expires", "40d"), "not within the next 30 days: an emergency must end"),
    ((*KB, *ALL, "--expires", "soon"), "'soon' is no moment and no span: write such as"),
    ((*KB, *ALL, "--id", "log4j"), "write emergency- and then letters"),
    ((*KB, *ALL, "--because", " "), "say why"), ((*KB, *ALL, "--severity", "9"), "9 is not in the range"),
    ((*KB, *ALL, "--reboot", "yes"), "'yes' is not one of 'if-needed', 'never'"),
    ((*KB, *ALL, "--package-version", "1"), "No such option"),
])  # fmt: skip
def test_a_wrong_option_is_named_with_its_remedy(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    found = start(tmp_path, *words)
    assert found.exit_code == 2, found.output
    assert sentence in " ".join(found.output.split())
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("ledger.sqlite")] == []


def test_a_ledger_file_has_no_nodes_to_ask_and_none_that_was_not_read_passes_for_patched(tmp_path: Path) -> None:
    found = start(tmp_path, *KB, *ALL, "--dry-run")
    assert found.exit_code == 2 and "emergency start asks AWS: leave --local and --ledger away" in found.output
    assert nobody(Radius((), {})) == "no node in scope is without these patches, so nothing was started"
    assert "but 2 could not be read" in nobody(Radius((), {"111122223333/eu-west-1": "denied", "a": "busy"}))


def test_what_is_asked_for_is_read_once(tmp_path: Path) -> None:
    now = parse_moment("2026-11-25T03:00:00Z")
    asked = wanted(
        cves=["cve-2026-12345"], kbs=["5035849", "KB5035849"], scope=["tag:Env=prod"],
        packages=["xz-libs=5.6.2-1", "xz-libs=5.4.6-2@Debian 12"],
        waves=["PatchRing=canary 30m 1", "10% 1h,100%"], expires=read("48h"), name=None, now=now, reboot="never",
        through=(), severity=1, only_lacking=False, owner="secops@example.com", by="night@example.com",
        because="exploited",
    )  # fmt: skip
    assert asked.own == (("Debian 12", Named("xz-libs", "5.4.6-2")),) and asked.packages == (
        Named("xz-libs", "5.6.2-1"),
    )
    assert asked.id == "emergency-cve-2026-12345" and len(asked.kbs) == 1
    assert asked.waves == (
        {"tag": "PatchRing=canary", "soak": "30m", "max_errors": 1}, {"percent": 10, "soak": "1h"}, {"percent": 100},
    )  # fmt: skip
    assert asked.expires == parse_moment("2026-11-27T03:00:00Z")


def test_status_and_stop_name_what_is_near(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    ledger_file(ledger)
    for words, code, sentence in (
        (["status"], 2, "no emergency runs: patchwarden emergency list"),
        (["status", "emergency-x"], 2, "there is no emergency 'emergency-x': there never was one"),
        (["stop", "emergency-x", "--because", "b"], 2, "there never was one"),
        (["stop", "emergency-x"], 2, "Missing option '--because'"),
        (["list"], 0, "there never was an emergency"),
    ):
        found = CliRunner().invoke(cli, ["--ledger", str(ledger), "emergency", *words], prog_name="patchwarden")
        assert found.exit_code == code and sentence in " ".join(found.output.split()), found.output
