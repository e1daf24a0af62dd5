"""The proof: whatever is done to one record of a trail is found, and the first wrong line is named."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from moto import mock_aws

from chalicelib import wiring
from chalicelib.adapters.dynamodb import TABLE, DynamoLedger
from chalicelib.adapters.memory import MemoryClock, MemoryLedger
from chalicelib.adapters.signing import FileSigner, KmsSigner
from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.adapters.vault import BucketVault, FolderVault
from chalicelib.answers import READS, Asked
from chalicelib.core.audit import fault
from chalicelib.core.chain import link
from chalicelib.core.checkpoints import name_of, opened, sealed
from chalicelib.core.days import lines_of
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.journal import Kind, entry, subject_of
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause, Remediation, Transition, advance, apply
from chalicelib.evidence import LATEST, LONGEST, checkpoint, export, packed
from chalicelib.ports import Change, Kept, Ports, Signer, Vault
from chalicelib.proof import verify
from chalicelib.recheck import verify_export
from chalicelib.signed import signed as read
from chalicelib.signed import signed_nodes
from patchwarden import proving
from tests.aws import client
from tests.sets import NODE, NOW
from tests.verbs.conftest import World

MANY = 1000
"""Lines of a trail of which each place is tried."""
OTHER = Node(NODE.account, NODE.region, "i-0fedcba9876543210")


def trail(count: int, node: Node = NODE) -> tuple[Remediation, list[Transition]]:
    """A case of that many lines, one a minute."""
    case, lines = Remediation(node, Control.PATCH), list[Transition]()
    for number in range(count):
        line = advance(case, Cause.NOTED if number else Cause.TICKETED, because=f"line {number + 1}",
                       now=NOW + timedelta(minutes=number))  # fmt: skip
        case = apply(case, line)
        lines.append(line)
    return case, lines


def test_every_single_change_of_a_trail_is_found_and_named() -> None:
    count = MANY
    head, lines = trail(count)
    assert fault(head, lines) is None
    for place in range(count):
        number = place + 1
        edited = [*lines[:place], replace(lines[place], because="nothing to see here"), *lines[number:]]
        assert f"line {number} was changed" in str(fault(head, edited))
        dropped = [*lines[:place], *lines[number:]]
        assert f"line {number}" in str(fault(head, dropped)) or number == count
        assert fault(head, dropped) is not None
        cut = lines[:place]
        assert f"ends at line {place}, but its head has seen line {count}" in str(fault(head, cut))
        if number < count:
            swapped = [*lines[:place], lines[number], lines[place], *lines[number + 1 :]]
            assert f"line {number} is missing; line {number + 1} stands in its place" in str(fault(head, swapped))


@pytest.fixture
def world() -> World:
    """Two trails: one of 40 lines over 40 minutes, and one of two."""
    world = World(clock=MemoryClock(NOW))
    for count, node in ((40, NODE), (2, OTHER)):
        case = Remediation(node, Control.PATCH)
        for line in trail(count, node)[1]:
            case = apply(case, line)
            world.ledger.append(Change(line, case))
    return world


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return FolderVault(tmp_path / "evidence")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return FileSigner(tmp_path / "key")


@pytest.fixture
def signed(world: World, vault: Vault, signer: Signer) -> Ports:
    """Signed after 12, after 22 minutes, and at the end."""
    for minutes in (12, 22, 60):
        world.clock._now = NOW + timedelta(minutes=minutes)
        checkpoint(world.ports, vault, signer)
    return world.ports


def rewrite(ledger: MemoryLedger, first: int, lines: list[Transition]) -> None:
    """What somebody does who may write to the table: change a line, and make chain and head right again."""
    told = lines[: first - 1]
    case = Remediation(NODE, Control.PATCH)
    for line in told:
        case = apply(case, line)
    for line in lines[first - 1 :]:
        changed = replace(line, previous=case.hash, because=f"{line.because}!", hash="")
        changed = replace(changed, hash=link(case.hash, changed.to_json()))
        case = apply(case, changed)
        told.append(changed)
    put(ledger, case, told)


def put(ledger: MemoryLedger, case: Remediation, lines: list[Transition]) -> None:
    ledger._trails[case.id] = lines
    ledger._replace_head(case)


def drop(ledger: MemoryLedger, identity: str, *, lines: bool = True) -> Remediation:
    """Take a head away with its place in every list, and the lines too."""
    case, turn = ledger._heads.pop(identity), ledger._turn.pop(identity)
    ledger._turns[case.state].remove(turn)
    del ledger._whose[turn]
    if lines:
        del ledger._trails[identity]
    return case


def proved(ports: Ports, vault: Vault, signer: Signer) -> tuple[str, ...]:
    return verify(ports.ledger, ports.clock.now(), vault=vault, signer=signer).faults


def test_what_was_signed_is_whole(signed: Ports, vault: Vault, signer: Signer) -> None:
    found = verify(signed.ledger, signed.clock.now(), vault=vault, signer=signer)
    assert (found.faults, found.notes, found.checkpoints, found.remediations, found.lines) == ((), (), 3, 2, 42)
    late = verify(signed.ledger, signed.clock.now() + timedelta(hours=3), vault=vault, signer=signer)
    assert "what came later is not signed" in late.notes[0]
    assert "signatures were not checked" in verify(signed.ledger, signed.clock.now()).notes[0]


@pytest.mark.parametrize("first", [1, 5, 11, 12, 21, 30, 40])
def test_a_trail_that_was_rewritten_with_its_chain_and_head_is_found(
    signed: Ports, vault: Vault, signer: Signer, first: int
) -> None:
    ledger = signed.ledger
    assert isinstance(ledger, MemoryLedger)
    rewrite(ledger, first, ledger.trail(f"{NODE.account}.{NODE.region}.{NODE.id}.patch"))
    assert verify(ledger, signed.clock.now()).faults == (), "the chain alone cannot tell"
    (found,) = proved(signed, vault, signer)
    low, high = (1, 11) if first <= 11 else (12, 21) if first <= 21 else (22, 40)
    assert f"line between {low} and {high} was rewritten" in found


@pytest.mark.parametrize("left", [0, 1, 10, 11, 20, 39])
def test_a_tail_that_was_cut_with_its_head_is_found(signed: Ports, vault: Vault, signer: Signer, left: int) -> None:
    ledger = signed.ledger
    assert isinstance(ledger, MemoryLedger)
    identity = f"{NODE.account}.{NODE.region}.{NODE.id}.patch"
    lines = ledger.trail(identity)[:left]
    case = Remediation(NODE, Control.PATCH)
    for line in lines:
        case = apply(case, line)
    put(ledger, case, lines)
    if not left:
        drop(ledger, identity)
    assert verify(ledger, signed.clock.now()).faults == (), "the chain alone cannot tell"
    (found,) = proved(signed, vault, signer)
    assert f"{identity}: line {left + 1} is gone: checkpoint" in found


def test_a_signed_trail_that_is_gone_is_found_by_its_node_too(signed: Ports, vault: Vault, signer: Signer) -> None:
    ledger = signed.ledger
    assert isinstance(ledger, MemoryLedger)
    identity = f"{NODE.account}.{NODE.region}.{NODE.id}.patch"
    head = drop(ledger, identity, lines=False)
    of: Any = {"node": NODE, "vault": vault, "signer": signer}
    assert verify(ledger, signed.clock.now(), **of).faults == (
        f"{identity}: its lines are there, but its head is gone",
    )
    del ledger._trails[identity]
    (found,) = verify(ledger, signed.clock.now(), **of).faults
    assert found.startswith(f"{identity}: line 1 is gone: checkpoint")
    assert signed_nodes(read(vault, signer), NODE.id) == signed_nodes(read(vault, signer), str(head.node)) == [NODE]
    assert signed_nodes(read(vault, signer), "i-0") == []
    assert verify(ledger, signed.clock.now(), node=OTHER, vault=vault, signer=signer).faults == ()


def test_the_api_and_the_command_line_find_a_signed_trail_that_is_gone(
    signed: Ports, vault: Vault, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "vault", lambda settings: vault)
    monkeypatch.setattr(wiring, "signer", lambda settings: signer)
    monkeypatch.setattr(wiring.Settings, "from_environment", lambda: wiring.Settings(table="t"))

    def told(node: Node) -> Any:
        path = {"account": node.account, "region": node.region, "node": node.id}
        return READS["verify"](Asked(signed, signed.clock.now(), path, {}))

    assert told(NODE)["faults"] == () and told(replace(NODE, id="i-0aaaaaaaaaaaaaaaa")) is None
    assert isinstance(signed.ledger, MemoryLedger)
    identity = f"{NODE.account}.{NODE.region}.{NODE.id}.patch"
    drop(signed.ledger, identity)
    assert f"{identity}: line 1 is gone" in told(NODE)["faults"][0]
    assert proving._node(signed, NODE.id, vault, signer) == NODE
    with pytest.raises(click.ClickException, match="nothing is recorded"):
        proving._node(signed, NODE.id, None, None)


def test_a_checkpoint_that_was_changed_removed_or_signed_by_another_is_named(
    signed: Ports, vault: Vault, signer: Signer, tmp_path: Path
) -> None:
    assert isinstance(vault, FolderVault)
    place = vault._path / name_of(2)
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b'"count":2', b'"count":7'))
    assert "checkpoint 2: its signature is not that of" in proved(signed, vault, signer)[0]
    made, _ = opened(whole)
    other = FileSigner(tmp_path / "other")
    forged = replace(made, key=other.key)
    place.write_bytes(sealed(forged, other.sign(forged.digest)))
    assert "signed by file/" in proved(signed, vault, signer)[0]
    place.unlink()
    assert proved(signed, vault, signer) == (f"checkpoint 2: {name_of(2)} is missing",)
    place.write_bytes(whole)
    (vault._path / name_of(3)).unlink()
    assert proved(signed, vault, signer) == (f"checkpoint 3: {name_of(3)} is missing",), "the ledger knows of three"


def test_a_count_of_checkpoints_that_was_set_back_is_told(signed: Ports, vault: Vault, signer: Signer) -> None:
    kept = signed.ledger.kept("evidence/checkpoint")
    assert kept is not None and (kept.value["number"], kept.version) == (3, 3)
    signed.ledger.keep("evidence/checkpoint", {"number": 2}, expected=3)
    assert proved(signed, vault, signer) == ("the ledger's count of checkpoints was set back to 2",)
    assert isinstance(vault, FolderVault) and isinstance(signed.ledger, MemoryLedger)
    (vault._path / name_of(3)).unlink()
    assert proved(signed, vault, signer) == ("the ledger's count of checkpoints was set back to 2",)
    del signed.ledger._kept["evidence/checkpoint"]
    assert proved(signed, vault, signer) == ("the ledger's count of checkpoints was set back to 0",)
    signed.ledger.keep("evidence/checkpoint", {"number": 1}, expected=0)
    assert proved(signed, vault, signer) == (), "a run that stopped before it counted its checkpoint"


def test_a_list_of_heads_that_was_changed_is_named(signed: Ports, vault: Vault, signer: Signer) -> None:
    assert isinstance(vault, FolderVault)
    (place,) = (vault._path / "checkpoints").glob("0000000002-*")
    place.write_bytes(gzip.compress(gzip.decompress(place.read_bytes()).replace(b"21", b"20")))
    assert proved(signed, vault, signer) == ("checkpoint 2: its list of heads is not the one that it signs",)


def test_the_journal_is_signed_too(world: World, vault: Vault, signer: Signer) -> None:
    subject = subject_of(Kind.PAUSE, "all")
    world.ledger.enter(entry(None, subject, "paused", because="x", actor="op", now=NOW))
    world.clock._now = NOW + timedelta(hours=1)
    checkpoint(world.ports, vault, signer)
    del world.ledger._journal[subject]
    (found,) = proved(world.ports, vault, signer)
    assert found.startswith("journal pause/all: line 1 is gone: checkpoint 1")


def test_two_runs_at_once_sign_one_checkpoint(signed: Ports, vault: Vault, signer: Signer) -> None:
    with pytest.raises(Stale):
        checkpoint(signed, vault, signer)
    vault.put("checkpoints/x", b"1", locked=True)
    with pytest.raises(Denied):
        vault.put("checkpoints/x", b"2", locked=True)


@pytest.mark.parametrize("behind", [3, 14])
def test_a_line_stamped_by_a_clock_that_is_behind_is_signed_by_the_next_checkpoint(
    vault: Vault, signer: Signer, behind: int
) -> None:
    world = World(clock=MemoryClock(NOW))
    world.node(OTHER)
    for minutes in (10, 60):
        world.clock._now = NOW + timedelta(minutes=minutes)
        checkpoint(world.ports, vault, signer)
    world.clock.move(timedelta(minutes=-behind))
    world.say(OTHER)
    world.clock.move(timedelta(minutes=behind))
    for _ in range(2):
        world.clock.move(timedelta(hours=1))
        checkpoint(world.ports, vault, signer)
    case = world.case(OTHER)
    forged = replace(world.ledger.trail(case.id)[-1], actor="nobody", hash="")
    forged = replace(forged, hash=link(forged.previous, forged.to_json()))
    put(world.ledger, replace(case, hash=forged.hash), [*world.ledger.trail(case.id)[:-1], forged])
    (found,) = (one for one in proved(world.ports, vault, signer) if "rewritten" in one)
    assert found.startswith(f"{case.id}: line")


def test_a_trail_that_is_named_by_two_checkpoints_is_whole(world: World, vault: Vault, signer: Signer) -> None:
    """Its last line lies shortly before the end of the first: both sign it."""
    for minutes in (45, 60):
        world.clock._now = NOW + timedelta(minutes=minutes)
        last = checkpoint(world.ports, vault, signer)
    assert last.count == 1
    assert proved(world.ports, vault, signer) == ()


def test_after_a_long_pause_each_checkpoint_reads_one_step_and_the_next_goes_on(
    signed: Ports, world: World, vault: Vault, signer: Signer
) -> None:
    world.node(OTHER)
    began = NOW + timedelta(minutes=60) - LATEST
    world.clock._now = NOW + timedelta(hours=15)
    world.say(OTHER)
    world.clock.move(timedelta(hours=2))
    made = [checkpoint(signed, vault, signer) for _ in range(3)]
    assert [one.until for one in made] == [began + LONGEST, began + 2 * LONGEST, world.clock.now() - LATEST]
    assert [one.count for one in made] == [0, 0, 1]
    with pytest.raises(Stale):
        checkpoint(signed, vault, signer)
    assert proved(signed, vault, signer) == ()


# --- what was added later, and what the indexes hide -----------------------------------------------------------------


def test_a_line_that_was_added_with_an_old_date_is_found(signed: Ports, vault: Vault, signer: Signer) -> None:
    """Whole in chain and head, and held by no signature: the answer about that moment would be another one."""
    assert isinstance(signed.ledger, MemoryLedger)
    case = next(one for one in signed.ledger.all_heads() if one.node == OTHER)
    line = advance(case, Cause.RESOLVED, because="never happened", now=NOW + timedelta(minutes=9))
    put(signed.ledger, apply(case, line), [*signed.ledger.trail(case.id), line])
    assert proved(signed, vault, signer) == (
        f"{case.id}: line 3 was added later, or by a clock more than 15 minutes behind: "
        "no checkpoint up to 2026-11-23T12:58:00.000Z signed it",
    )
    found = verify(signed.ledger, signed.clock.now(), node=OTHER, vault=vault, signer=signer)
    assert found.faults == proved(signed, vault, signer)


@pytest.mark.parametrize(("minutes", "found"), [(0, True), (43, True), (44, False), (59, False)])
def test_a_whole_trail_that_was_added_with_an_old_date_is_found(
    signed: Ports, vault: Vault, signer: Signer, minutes: int, found: bool
) -> None:
    """The last quarter of an hour is not held against it: a clock may have been behind."""
    case = Remediation(Node(NODE.account, NODE.region, "i-0bad0bad0bad0bad0"), Control.PATCH)
    line = advance(case, Cause.EXEMPTED, because="never happened", now=NOW + timedelta(minutes=minutes))
    signed.ledger.append(Change(line, apply(case, line)))
    assert [one.startswith(f"{case.id}: line 1 was added later") for one in proved(signed, vault, signer)] == \
        [True] * found  # fmt: skip


def test_an_entry_of_the_journal_that_was_added_with_an_old_date_is_found(
    signed: Ports, vault: Vault, signer: Signer
) -> None:
    late = entry(None, subject_of(Kind.PAUSE, "all"), "paused", because="x", actor="op", now=NOW)
    signed.ledger.enter(late)
    (found,) = proved(signed, vault, signer)
    assert found.startswith("journal pause/all: line 1 was added later")


IDENTITY = f"{NODE.account}.{NODE.region}.{NODE.id}.patch"
HIDES = {
    "another state": ("UPDATE remediations SET state = 'resolved' WHERE id = ?",
                      "the index of states has it as resolved, but it is ticketed"),
    "no state": ("UPDATE remediations SET state = 'x' WHERE id = ?",
                 "its head is there, but the index of states does not name it"),
    "another day": ("UPDATE transitions SET at = '2026-11-22T12:00:00.000Z' WHERE remediation = ? AND number = 2",
                    "line 2 is not in the index of days"),
    "no head": ("DELETE FROM remediations WHERE id = ?", "its lines are there, but its head is gone"),
}  # fmt: skip


@pytest.mark.parametrize("how", [*HIDES])
def test_what_an_index_of_a_file_hides_is_found(world: World, tmp_path: Path, how: str) -> None:
    """Lists, counts, exports and checkpoints read the indexes, so these must say what the lines say."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite", durable=False)
    for trail in world.ledger._trails.values():
        for line in trail:
            head = ledger.head(line.remediation) or Remediation(_node_of(line), Control.PATCH)
            ledger.append(Change(line, apply(head, line)))
    now = NOW + timedelta(days=1)
    assert verify(ledger, now).faults == ()
    statement, says = HIDES[how]
    ledger._connection.execute(statement, (IDENTITY,))
    assert verify(ledger, now).faults == (f"{IDENTITY}: {says}",)
    ledger.close()


def _node_of(line: Transition) -> Node:
    return Node(*line.remediation.split(".")[:3])


@pytest.mark.parametrize(("index", "of", "says"), [
    ("work", "HEAD", "its head is there, but the index of states does not name it"),
    ("day", "T#0000000001", "line 1 is not in the index of days"),
])  # fmt: skip
def test_what_an_index_of_the_table_hides_is_found(index: str, of: str, says: str) -> None:
    with mock_aws():
        table = client("dynamodb")
        table.create_table(TableName="ledger", **TABLE)
        ledger, case = DynamoLedger("ledger", lambda: table), Remediation(NODE, Control.PATCH)
        for cause in (Cause.TICKETED, Cause.NOTED):
            line = advance(case, cause, because="x", now=NOW)
            case = apply(case, line)
            ledger.append(Change(line, case))
        now = NOW + timedelta(hours=1)
        assert verify(ledger, now).faults == ()
        table.update_item(TableName="ledger", Key={"pk": {"S": f"R#{case.id}"}, "sk": {"S": of}},
                          UpdateExpression=f"REMOVE {index}_pk, {index}_sk")  # fmt: skip
        assert verify(ledger, now).faults == (f"{case.id}: {says}",)


# --- the export -----------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(signed: Ports, vault: Vault) -> Vault:
    signed.clock._now = NOW + timedelta(days=2)  # type: ignore[attr-defined]
    days = list(export(signed, vault))
    assert [day["lines"] for day in days if day["lines"]] == [42] and all(day["final"] for day in days)
    assert sum(day["written"] for day in export(signed, vault)) == 0, "the same again changes nothing"
    return vault


def test_an_export_is_whole_by_itself_and_against_the_ledger(signed: Ports, exported: Vault, signer: Signer) -> None:
    found = verify_export(exported, signer, ledger=signed.ledger)
    assert (found.faults, found.remediations, found.checkpoints) == ((), 2, 3)


DAY = NOW.date()
FILE = lines_of(DAY, NODE.account)


def edit(lines: list[Any]) -> list[Any]:
    return [{**line, "because": "x"} if line["number"] == 7 and line["remediation"].count(NODE.id) else line
            for line in lines]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit, f"{NODE.id}.patch: line 7 was changed after it was written (day={DAY})"),
        (
            lambda lines: [line for line in lines if line["number"] != 7],
            "line 7 is missing; line 8 stands in its place",
        ),
        (lambda lines: [*lines[:20], lines[21], lines[20], *lines[22:]], "stands out of order in"),
        (lambda lines: lines[:-1], f"{NODE.id}.patch: line 40 is gone: checkpoint 3"),
    ],
)
def test_an_export_that_was_changed_with_its_manifest_is_found(
    exported: Vault, signer: Signer, change: Callable[[list[Any]], list[Any]], says: str
) -> None:
    lines = change([json.loads(line) for line in gzip.decompress(exported.get(FILE) or b"").splitlines()])
    body = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    exported.put(FILE, body)
    naive = verify_export(exported, signer).faults
    assert any(f"{FILE}: the file is not the one that its manifest names" in one for one in naive)
    name = f"trail/day={DAY}/manifest.json"
    manifest = json.loads(exported.get(name) or b"")

    known = {"lines": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    exported.put(name, json.dumps({**manifest, "lines": len(lines), "accounts": {NODE.account: known}}).encode())
    faults = verify_export(exported, signer).faults
    assert len(faults) == 1 and says in faults[0], faults


def test_a_day_a_file_or_the_journal_that_is_missing_is_named(exported: Vault, signer: Signer) -> None:
    assert isinstance(exported, FolderVault)
    (exported._path / FILE).rename(exported._path / "elsewhere")
    assert any(one.startswith(f"{FILE}: the file is missing") for one in verify_export(exported, signer).faults)
    (exported._path / "elsewhere").rename(exported._path / FILE)
    (exported._path / "service" / "journal.jsonl.gz").unlink()
    assert "service/journal.jsonl.gz: the file is missing" in verify_export(exported, signer).faults


def test_a_line_that_was_added_to_the_export_with_an_old_date_is_found(exported: Vault, signer: Signer) -> None:
    case = Remediation(Node(NODE.account, NODE.region, "i-0bad0bad0bad0bad0"), Control.PATCH)
    forged = advance(case, Cause.EXEMPTED, because="never happened", now=NOW).to_json()
    lines = [forged, *(json.loads(line) for line in gzip.decompress(exported.get(FILE) or b"").splitlines())]
    body = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    known = {"lines": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    name = f"trail/day={DAY}/manifest.json"
    manifest = {**json.loads(exported.get(name) or b""), "lines": len(lines), "accounts": {NODE.account: known}}
    exported.put(FILE, body)
    exported.put(name, json.dumps(manifest).encode())
    (found,) = verify_export(exported, signer).faults
    assert found.startswith(f"{case.id}: line 1 was added later")


@pytest.mark.parametrize("name", [
    f"trail/day={DAY}/account={NODE.account}/more.jsonl.gz", f"trail/day={DAY}/account=444455556666/lines.jsonl.gz",
    f"trail/day=2026-11-01/account={NODE.account}/lines.jsonl.gz",
])  # fmt: skip
def test_a_file_that_no_manifest_names_is_found(exported: Vault, signer: Signer, name: str) -> None:
    """Look-ups read whatever lies there."""
    exported.put(name, exported.get(FILE) or b"")
    assert verify_export(exported, signer).faults == (f"{name}: no manifest names this file",)


def test_the_last_days_of_an_export_that_were_left_out_are_found(
    signed: Ports, vault: Vault, signer: Signer, tmp_path: Path
) -> None:
    assert isinstance(signed.clock, MemoryClock) and isinstance(vault, FolderVault)
    for days in range(1, 5):
        signed.clock._now = NOW + timedelta(days=days)
        case = next(one for one in signed.ledger.all_heads() if one.node == OTHER)
        line = advance(case, Cause.NOTED, because="x", now=signed.clock.now() - timedelta(minutes=10))
        signed.ledger.append(Change(line, apply(case, line)))
        for _ in range(5):
            with contextlib.suppress(Stale):
                checkpoint(signed, vault, signer)
    list(export(signed, vault))
    assert verify_export(vault, signer, ledger=signed.ledger).faults == ()
    for left_out in (26, 25):
        (vault._path / f"trail/day=2026-11-{left_out}").rename(tmp_path / str(left_out))
    says = "trail/day=2026-11-25/manifest.json: the day is missing"
    (found,) = verify_export(vault, signer).faults
    assert found.startswith(says) and "checkpoints speak up to 2026-11-27T11:58" in found
    assert any(one.startswith(says) for one in verify_export(vault, ledger=signed.ledger).faults)


@pytest.mark.parametrize(("name", "body"), [
    (f"trail/day={DAY}/manifest.json", b"{"), (f"trail/day={DAY}/manifest.json", b"[]"),
    (f"trail/day={DAY}/manifest.json", b'{"accounts": {"111122223333": {}}}'),
    ("trail/day=tomorrow/manifest.json", b"{}"), ("service/journal.jsonl.gz", gzip.compress(b"{}\n", mtime=0)),
    ("service/publications.jsonl.gz", gzip.compress(b"[1]\n", mtime=0)), ("service/journal.jsonl.gz", b"x"),
], ids=["no-json", "no-object", "no-counts", "no-day", "no-entry", "no-publication", "no-gzip"])  # fmt: skip
def test_a_document_of_the_export_that_cannot_be_read_is_named(
    exported: Vault, signer: Signer, name: str, body: bytes
) -> None:
    exported.put(name, body)
    assert any(one.startswith(f"{name}: it cannot be read") for one in verify_export(exported, signer).faults)


def test_lines_that_the_day_index_has_not_got_yet_are_waited_for(signed: Ports, tmp_path: Path) -> None:
    class Behind(MemoryLedger):
        def day(self, day: Any, *, since: Any = None) -> Iterator[Transition]:
            return (line for line in signed.ledger.day(day) if line.number != 7)

    with pytest.raises(Temporary, match="left out a line before line 8"):
        packed(Behind().day(DAY))


def line_of(case: Remediation, cause: Cause, at: datetime) -> Transition:
    """A line as a release wrote it that took the clock's word for it, whatever the line before it said."""
    return advance(replace(case, at=None), cause, because="x", now=at)


def test_a_line_is_never_stamped_before_the_one_it_follows() -> None:
    case, lines = trail(3)
    late = advance(case, Cause.NOTED, because="a clock that is behind", now=NOW - timedelta(minutes=5))
    assert late.at == lines[-1].at == apply(case, late).at
    assert Remediation.from_json(case.to_json()) == case
    old = {name: value for name, value in case.to_json().items() if name != "at"}
    head = Remediation.from_json(old)
    assert head.at is None and fault(head, lines) is None, "a release that did not keep the moment wrote it"
    assert fault(replace(case, at=NOW), lines) == f"{case.id}: the head is not what its 3 lines add up to"


@pytest.mark.parametrize("start", [NOW, datetime(2026, 11, 24, tzinfo=UTC) + timedelta(milliseconds=20)])
def test_lines_that_an_older_release_stamped_out_of_order_are_exported(
    vault: Vault, signer: Signer, start: datetime
) -> None:
    """Within a day, and over midnight: line 1 after it, line 2 before it, line 3 after it again."""
    world = World(clock=MemoryClock(start))
    case = Remediation(NODE, Control.PATCH)
    for number, milliseconds in enumerate((0, -50, 10, -40, 20)):
        line = line_of(case, Cause.NOTED if number else Cause.TICKETED, start + timedelta(milliseconds=milliseconds))
        case = apply(case, line)
        world.ledger.append(Change(line, case))
    world.clock.move(timedelta(hours=1))
    checkpoint(world.ports, vault, signer)
    world.clock.move(timedelta(days=3))
    assert sum(day["lines"] for day in export(world.ports, vault)) == 5
    assert verify_export(vault, signer, ledger=world.ledger).faults == ()
    assert verify(world.ledger, world.clock.now(), vault=vault, signer=signer).faults == ()


# --- AWS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws() -> Iterator[tuple[BucketVault, KmsSigner, Any]]:
    with mock_aws():
        s3, kms = (client(name) for name in ("s3", "kms"))
        s3.create_bucket(Bucket="evidence", ObjectLockEnabledForBucket=True,
                         CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})  # fmt: skip
        key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        clock = MemoryClock(NOW)
        yield BucketVault("evidence", clock, days=2557, client=lambda: s3), KmsSigner(key, client=lambda: kms), s3


def test_a_bucket_and_a_kms_key_do_what_folder_and_file_do(world: World, aws: tuple[Any, ...]) -> None:
    vault, signer, s3 = aws
    world.clock._now = NOW + timedelta(hours=1)
    made = checkpoint(world.ports, vault, signer)
    assert verify(world.ledger, world.clock.now(), vault=vault, signer=signer).faults == ()
    held = s3.head_object(Bucket="evidence", Key=made.name)
    assert held["ObjectLockMode"] == "COMPLIANCE"
    assert held["ObjectLockRetainUntilDate"] == NOW + timedelta(days=2557)
    body = vault.get(made.name)
    assert vault.get("checkpoints/none") is None and body is not None
    vault.put(made.name, body, locked=True)
    with pytest.raises(Denied, match="is there already"):
        vault.put(made.name, b"other", locked=True)
    assert not signer.verify(signer.key, signer.algorithm, made.digest, b"not a signature")
    assert not signer.verify("another", signer.algorithm, made.digest, signer.sign(made.digest))
    world.clock._now = NOW + timedelta(days=2)
    assert sum(day["written"] for day in export(world.ports, vault)) > 0
    assert verify_export(vault, signer, ledger=world.ledger).faults == ()


def test_a_checkpoint_that_is_hidden_or_put_again_still_counts_and_is_named(
    world: World, aws: tuple[Any, ...], tmp_path: Path
) -> None:
    vault, signer, s3 = aws
    for hours in (1, 2):
        world.clock._now = NOW + timedelta(hours=hours)
        made = checkpoint(world.ports, vault, signer)
    s3.delete_object(Bucket="evidence", Key=made.name)
    world.ledger._kept["evidence/checkpoint"] = Kept({"number": 1}, 1)
    assert vault.get(made.name) is None and vault.names("checkpoints/0000000002.") == []
    assert proved(world.ports, vault, signer) == (f"checkpoint 2: {made.name} was hidden by a delete marker",)
    world.clock._now = NOW + timedelta(hours=3)
    third = checkpoint(world.ports, vault, signer)
    assert third.number == 3, "the hidden one is not made anew"
    s3.put_object(Bucket="evidence", Key=third.name, Body=b"another")
    found = read(vault, signer)
    assert found.faults[1:] == (f"checkpoint 3: {third.name} was put 2 times",) and {*found.checkpoints} == {1, 2, 3}
    proving._copied(vault, FolderVault(tmp_path / "out"))
    assert read(FolderVault(tmp_path / "out"), signer).faults == ()
    rewrite(world.ledger, 30, world.ledger.trail(f"{NODE.account}.{NODE.region}.{NODE.id}.patch"))
    assert any("was rewritten" in one for one in proved(world.ports, vault, signer))
