"""Where the compiled policy set comes from, and what happens where there is none that loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.adapters.accounts import MAKING
from chalicelib.adapters.memory import MemoryClock, MemoryLedger
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Bucket, Fixed, Folder, Packed, Published, load
from chalicelib.core.errors import PolicyError, Temporary
from chalicelib.core.publications import Act, publication
from chalicelib.ports import Shelf
from patchwarden.policy.compile import compiled_text
from tests import aws
from tests.sets import NOW, policy, policy_document, policy_set

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


class Shelves:
    """The shelves, each empty, and each told apart only by where it lies."""

    @staticmethod
    def folder(path: Path) -> Iterator[Shelf]:
        yield Folder(path / "made" / "when" / "used")

    @staticmethod
    def bucket(path: Path) -> Iterator[Shelf]:
        with mock_aws():
            client = aws.client("s3", "us-east-1")
            client.create_bucket(Bucket="patchwarden-policies")
            client.put_bucket_versioning(Bucket="patchwarden-policies", VersioningConfiguration={"Status": "Enabled"})
            yield Bucket("patchwarden-policies", lambda: client)


@pytest.fixture(params=[Shelves.folder, Shelves.bucket], ids=["folder", "bucket"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    yield from request.param(tmp_path)


def compiled(name: str, **given: Any) -> tuple[str, bytes]:
    """Digest and text of a small set of one policy."""
    document = policy_document(policy(name, **given))
    return document["digest"], json.dumps(document).encode()


class TestShelf:
    def test_a_document_comes_back_as_it_was_laid_there(self, shelf: Shelf) -> None:
        digest, text = compiled("zürich")
        for _ in range(2):
            shelf.put(digest, text)
        assert shelf.get(digest) == text

    def test_what_was_never_laid_there_is_a_policy_error(self, shelf: Shelf) -> None:
        with pytest.raises(PolicyError):
            shelf.get("0" * 64)

    @pytest.mark.parametrize("name", ["", "../../secret", "A" * 64, "0" * 63, f"{'0' * 64}\n"])
    def test_only_a_digest_names_a_place(self, shelf: Shelf, name: str) -> None:
        with pytest.raises(PolicyError, match="is no digest"):
            shelf.get(name)
        with pytest.raises(PolicyError, match="is no digest"):
            shelf.put(name, b"{}")


@dataclass
class Following:
    """A store over memory, and what a test moves."""

    path: Path
    clock: MemoryClock = field(default_factory=lambda: MemoryClock(NOW))
    ledger: Any = field(default_factory=MemoryLedger)
    notices: Collected = field(default_factory=Collected)

    def __post_init__(self) -> None:
        self.shelf = Folder(self.path)
        self.packed = Fixed(policy_set(policy("packed")))

    def store(self) -> Published:
        return Published(self.ledger, self.shelf, self.packed, clock=self.clock, notices=self.notices)

    def publish(self, name: str, *, text: bytes | None = None) -> str:
        digest, good = compiled(name)
        self.shelf.put(digest, good if text is None else text)
        self.ledger.publish(publication(self.ledger.active_policies(), Act.PUBLISHED, digest, by="sec", because="why",
                                        now=self.clock.now()))  # fmt: skip
        return digest

    def later(self, seconds: float = 30) -> None:
        self.clock.move(timedelta(seconds=seconds))


@pytest.fixture
def following(tmp_path: Path) -> Following:
    return Following(tmp_path)


def decides(store: Published) -> str:
    return store.active().policies[0].id


class TestPublished:
    def test_the_packed_set_decides_until_one_is_published(self, following: Following) -> None:
        store = following.store()
        assert decides(store) == "packed"
        following.publish("first")
        following.later()
        assert decides(store) == "first"
        assert store.trouble() is None
        assert following.notices.said == []

    def test_a_new_set_decides_within_sixty_seconds(self, following: Following) -> None:
        following.publish("first")
        store = following.store()
        assert decides(store) == "first"
        following.publish("second")
        seconds = 0
        while decides(store) != "second":
            following.later(1)
            seconds += 1
        assert 20 <= seconds <= 60

    def test_the_ledger_is_not_asked_again_before_its_time(self, following: Following) -> None:
        following.publish("first")
        asked = Counted(following.ledger)
        following.ledger = asked
        store = following.store()
        for _ in range(30):
            store.active()
            following.later(1)
        assert asked.calls == ["active_policies"]

    def test_a_clock_that_is_set_back_does_not_stop_the_following(self, following: Following) -> None:
        following.publish("first")
        store = following.store()
        store.active()
        following.publish("second")
        following.later(-3600)
        assert decides(store) == "second"

    @pytest.mark.parametrize("text", [b"", b"{}", b"\xff", compiled("other")[1], compiled("second")[1][:-40]])
    def test_a_set_that_does_not_load_is_refused_and_the_last_good_one_stays(
        self, following: Following, text: bytes
    ) -> None:
        following.publish("first")
        store = following.store()
        assert decides(store) == "first"
        bad = following.publish("second", text=text)
        following.later()
        assert decides(store) == "first"
        assert str(store.trouble()).startswith(f"the set {bad[:12]} that sec published does not load: ")
        (said,) = following.notices.of("policies_refused")
        assert (said["decides"], said["digest"]) == ("kept", bad)

    def test_the_last_good_set_stays_even_if_the_shelf_has_lost_it(self, following: Following) -> None:
        digest = following.publish("first")
        store = following.store()
        store.active()
        following.publish("second", text=b"")
        (following.path / f"{digest}.json").unlink()
        following.later()
        assert decides(store) == "first"

    def test_a_set_that_was_changed_on_the_shelf_is_refused_at_every_byte(self, following: Following) -> None:
        digest, text = compiled("first")
        following.publish("first")
        for place in range(0, len(text), 7):
            changed = bytearray(text)
            changed[place] ^= 1
            following.shelf.put(digest, bytes(changed))
            store = following.store()
            assert decides(store) == "packed", text[place : place + 20]

    def test_a_set_that_is_repaired_decides_with_the_next_look(self, following: Following) -> None:
        following.publish("first")
        store = following.store()
        store.active()
        digest = following.publish("second", text=b"{")
        following.later()
        store.active()
        following.shelf.put(digest, compiled("second")[1])
        following.later()
        assert decides(store) == "second"
        assert store.trouble() is None

    def test_a_process_that_knows_no_set_yet_looks_back_for_the_last_good_one(self, following: Following) -> None:
        following.publish("first")
        following.publish("second")
        following.publish("third", text=b"")
        assert decides(following.store()) == "second"

    def test_without_any_good_published_set_the_packed_one_decides(self, following: Following) -> None:
        following.publish("first", text=b"")
        store = following.store()
        assert decides(store) == "packed"
        assert [said["decides"] for said in following.notices.of("policies_refused")] == ["packed"]

    def test_without_any_good_set_at_all_it_is_a_policy_error(self, following: Following) -> None:
        following.publish("first", text=b"")
        following.packed = Packed(following.path / "nowhere.json")  # type: ignore[assignment]
        with pytest.raises(PolicyError, match="nowhere"):
            following.store().active()

    def test_a_ledger_that_does_not_answer_leaves_the_last_good_set(self, following: Following) -> None:
        following.publish("first")
        store = following.store()
        store.active()
        following.publish("second")
        following.ledger = store._ledger = Counted(following.ledger, fails=Temporary("throttled"))
        following.later()
        assert decides(store) == "first"
        assert store.trouble() == "the ledger does not say which set is in force: throttled"

    def test_a_first_look_that_has_no_answer_must_come_again(self, following: Following) -> None:
        """Not the packed set: an exemption may have been published that it does not know."""
        following.publish("first")
        following.ledger = Counted(following.ledger, fails=Temporary("throttled"))
        store = following.store()
        for _ in range(2):
            with pytest.raises(Temporary):
                store.active()
        following.ledger.fails = None
        assert decides(store) == "first"


class Counted:
    """A ledger that keeps which methods were called, and fails if told so."""

    def __init__(self, whole: Any, fails: Exception | None = None) -> None:
        self.whole, self.fails = whole, fails
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        if self.fails:
            raise self.fails
        return getattr(self.whole, name)


def test_its_client_is_made_by_one_hand_alone_and_once() -> None:
    alone: list[bool] = []

    class Lying:
        def get_object(self, **asked: object) -> dict[str, object]:
            return {"Body": BytesIO(b"{}")}

    def connect() -> Lying:
        alone.append(MAKING.locked())
        return Lying()

    bucket = Bucket("sets", connect)
    assert [bucket.get("0" * 64), bucket.get("1" * 64)] == [b"{}"] * 2
    assert alone == [True]
