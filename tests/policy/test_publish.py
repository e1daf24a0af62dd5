"""Publishing: only a set that holds up is put in force, everybody sees by whom and why, and it can be taken back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib import wiring
from chalicelib.core.errors import PolicyError, Stale
from chalicelib.core.findings import Control
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.ports import Change
from patchwarden.cli import cli
from patchwarden.policy.publish import publish, roll_back
from patchwarden.policy.sets import from_directory
from tests.sets import NODE, NOW

SHIPPED = Path(__file__).parents[2] / "policies"


class Place:
    """A ledger file, a directory of policies, and the command line over both."""

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "ledger.sqlite"
        self.directory = folder / "policies"
        wiring.local(str(self.ledger)).ledger.mark("made")
        shutil.copytree(SHIPPED, self.directory)

    def run(self, *words: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(cli, ["--ledger", str(self.ledger), *words], input=answer, prog_name="patchwarden")

    def publish(self, *words: str, answer: str | None = None) -> Result:
        given = ["--reason", "the vendor is late", "--by", "sec@example.com", *words]
        return self.run("policy", "publish", str(self.directory), *given, answer=answer)

    def change(self, old: str = "attempts: 3", new: str = "attempts: 4") -> None:
        """Another set, which is as good."""
        file = self.directory / "_set.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("policy", "history", "-o", "json").stdout)
        return found

    def decides(self) -> str:
        """The digest that a service over this ledger decides by."""
        return wiring.local(str(self.ledger)).policies.active().digest


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestPublish:
    def test_a_good_set_is_put_in_force_and_recorded(self, place: Place) -> None:
        place.change()
        done = place.publish("--yes")
        assert done.exit_code == 0, done.output
        (line,) = place.history()
        assert (line["by"], line["because"], line["act"]) == ("sec@example.com", "the vendor is late", "published")
        assert line["digest"] == place.decides() == from_directory("x", place.directory).policies.digest
        assert line["summary"]["decisions"] == 0
        assert "0 of 0 decisions would be different" in done.stdout

    def test_it_asks_first(self, place: Place) -> None:
        place.change()
        before = place.decides()
        assert place.publish(answer="n\n").exit_code == 1
        assert (place.history(), place.decides()) == ([], before)
        assert place.publish(answer="y\n").exit_code == 0
        assert place.decides() != before

    def test_without_anybody_to_answer_nothing_is_published(self, place: Place) -> None:
        assert place.publish().exit_code == 1
        assert place.history() == []

    @pytest.mark.parametrize(
        ("old", "new", "said"), [("  regions:", "  region:", "PW201"), ("0 23 ? * * *", "0 22 ? * * *", "PW607")]
    )
    def test_a_set_with_an_error_or_a_failed_test_is_refused(self, place: Place, old: str, new: str, said: str) -> None:
        place.change(old, new)
        done = place.publish("--yes")
        assert done.exit_code == 3
        assert said in done.stderr
        assert "nothing was published" in done.stderr
        assert place.history() == []

    def test_the_set_that_is_in_force_is_not_published_again(self, place: Place) -> None:
        place.publish("--yes")
        done = place.publish("--yes")
        assert done.exit_code == 0
        assert "is in force already" in done.stderr
        assert len(place.history()) == 1

    def test_of_two_who_saw_the_same_set_in_force_one_publishes(self, place: Place) -> None:
        ports, shelf = wiring.local(str(place.ledger)), wiring.shelf(wiring.Settings(sqlite=str(place.ledger)))
        assert shelf is not None
        one = from_directory("x", place.directory).document
        place.change()
        two = from_directory("x", place.directory).document
        publish(ports.ledger, shelf, one, None, by="one", because="", now=NOW)
        with pytest.raises(Stale, match="another set was published"):
            publish(ports.ledger, shelf, two, None, by="two", because="", now=NOW)
        assert ports.ledger.publications()[-1].by == "one"

    def test_a_shelf_that_gives_back_something_else_publishes_nothing(self, place: Place) -> None:
        ledger = wiring.local(str(place.ledger)).ledger
        document = from_directory("x", place.directory).document
        with pytest.raises(PolicyError):
            publish(ledger, Forgetful(), document, None, by="sec", because="", now=NOW)
        assert ledger.publications() == []

    def test_without_a_bucket_it_is_said_what_is_missing(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PATCHWARDEN_POLICY_BUCKET", raising=False)
        monkeypatch.delenv("PATCHWARDEN_SQLITE", raising=False)
        wiring.use(wiring.local(str(place.ledger)))
        try:
            done = CliRunner().invoke(cli, ["policy", "publish", str(place.directory), "--reason", "x", "--yes"])
        finally:
            wiring.use(None)
        assert done.exit_code == 1
        assert "PATCHWARDEN_POLICY_BUCKET" in done.stderr


class Forgetful:
    """A shelf that keeps the first half."""

    def put(self, digest: str, text: bytes) -> None:
        self.text = text[: len(text) // 2]

    def get(self, digest: str) -> bytes:
        return self.text


class TestRollback:
    @pytest.fixture
    def two(self, place: Place) -> list[str]:
        place.publish("--yes")
        place.change()
        place.publish("--yes")
        return [line["digest"] for line in place.history()]

    def back(self, place: Place, digest: str, *words: str) -> Result:
        return place.run("policy", "rollback", digest, "--reason", "too strict", "--by", "ops", "--yes", *words)

    def test_the_set_of_a_published_digest_decides_again(self, place: Place, two: list[str]) -> None:
        assert self.back(place, two[0][:7]).exit_code == 0
        assert place.decides() == two[0]
        last = place.history()[-1]
        assert (last["number"], last["act"], last["digest"], last["by"]) == (3, "rolled_back", two[0], "ops")

    def test_a_digest_that_was_never_published_is_refused(self, place: Place, two: list[str]) -> None:
        for text in ("0" * 12, two[0][:6], "nonsense"):
            done = self.back(place, text)
            assert done.exit_code == 1
            assert "was never published" in done.stderr
        assert place.decides() == two[1]

    def test_a_set_that_does_not_load_any_more_is_refused(self, place: Place, two: list[str]) -> None:
        (place.ledger.with_suffix(".policies") / f"{two[0]}.json").write_text("{}")
        ports, shelf = wiring.local(str(place.ledger)), wiring.shelf(wiring.Settings(sqlite=str(place.ledger)))
        assert shelf is not None
        with pytest.raises(PolicyError):
            roll_back(ports.ledger, shelf, two[0], by="ops", because="x", now=NOW)
        assert place.decides() == two[1]

    def test_the_set_in_force_cannot_be_rolled_back_to(self, place: Place, two: list[str]) -> None:
        ports, shelf = wiring.local(str(place.ledger)), wiring.shelf(wiring.Settings(sqlite=str(place.ledger)))
        assert shelf is not None
        with pytest.raises(PolicyError, match="in force already"):
            roll_back(ports.ledger, shelf, two[1], by="ops", because="x", now=NOW)

    def test_diff_takes_published_digests(self, place: Place, two: list[str]) -> None:
        done = place.run("policy", "diff", two[0][:12], two[1], "-o", "json")
        assert json.loads(done.stdout)["before"] == two[0][:12]


class TestAudit:
    def tamper(self, place: Place, statement: str) -> None:
        with sqlite3.connect(place.ledger) as connection:
            connection.execute(statement)

    @pytest.fixture
    def published(self, place: Place) -> Place:
        for before in (3, 4, 5):
            place.change(f"attempts: {before}", f"attempts: {before + 1}")
            assert place.publish("--yes").exit_code == 0
        return place

    def test_a_trail_as_it_was_written_is_whole(self, published: Place) -> None:
        done = published.run("audit", "verify")
        assert done.exit_code == 0
        assert "0 trails, 3 lines: whole" in done.stdout

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE publications SET line = replace(line, 'sec@', 'eve@') WHERE number = 2",
            "DELETE FROM publications WHERE number = 2",
            "DELETE FROM publications WHERE number = 3",
            "UPDATE switches SET value = '1' WHERE name = 'policies'",
        ],
    )
    def test_verify_and_history_name_what_was_changed(self, published: Place, statement: str) -> None:
        self.tamper(published, statement)
        done = published.run("audit", "verify", "-o", "json")
        assert done.exit_code == 3
        assert "policies: " in json.loads(done.stdout)["faults"][0]
        assert published.run("policy", "history").exit_code == 3


class TestExemptions:
    def listed(self, place: Place, *words: str) -> list[dict[str, Any]]:
        done = place.run("policy", "exemptions", "--now", "2027-03-10T00:00:00Z", "-o", "json", *words)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def test_who_is_exempt_until_when_and_who_approved_it(self, place: Place) -> None:
        (found,) = self.listed(place)
        assert (found["policy"], found["ends"], found["days"], found["nodes"]) == (
            "legacy-erp-exempt", "2027-03-31T00:00:00.000Z", 21, 0)  # fmt: skip
        assert (found["approved_by"], found["ticket"]) == ("ciso@example.com", "RISK-2041")

    @pytest.mark.parametrize(
        ("words", "count"),
        [("--expiring 30d", 1), ("--expiring 20d", 0), ("--unused", 1), ("--unused --expiring 3d", 0)],
    )
    def test_only_those_that_end_soon_or_exempt_nobody(self, place: Place, words: str, count: int) -> None:
        assert len(self.listed(place, *words.split())) == count

    def test_one_that_has_ended_is_none(self, place: Place) -> None:
        done = place.run("policy", "exemptions", "--now", "2027-03-31T00:00:00Z", "-o", "json")
        assert json.loads(done.stdout) == []

    def test_nodes_that_are_exempt_are_counted(self, place: Place) -> None:
        case = Remediation(NODE, Control.PATCH)
        line = advance(case, Cause.EXEMPTED, because="x", now=NOW, sets={"decision": {"policy": "legacy-erp-exempt"}})
        wiring.local(str(place.ledger)).ledger.append(Change(line, apply(case, line)))
        assert self.listed(place)[0]["nodes"] == 1
        assert self.listed(place, "--unused") == []
