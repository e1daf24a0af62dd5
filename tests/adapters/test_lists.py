"""One contract for the places of override lists: written once, told with sha256 and version, under the digest alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.adapters.lists import BucketLists, FolderLists, MemoryLists
from chalicelib.core.errors import Denied
from chalicelib.core.overrides import Named, digest_of_list, text_of
from chalicelib.ports import Lists
from tests import aws

NAMED = [Named("xz-libs", "5.6.2-1")]
TEXT, DIGEST = text_of(NAMED), digest_of_list(NAMED)
BUCKET = "patchwarden-lists-test"


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = aws.client("s3", "us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture(params=["memory", "folder", "bucket"])
def lists(request: pytest.FixtureRequest, tmp_path: Path, s3: Any) -> Lists:
    if request.param == "bucket":
        return BucketLists(BUCKET, client=lambda: s3)
    return MemoryLists() if request.param == "memory" else FolderLists(tmp_path)


def test_a_list_is_written_once_and_told_with_its_version(lists: Lists) -> None:
    assert lists.look(DIGEST) is None
    version = lists.put(DIGEST, TEXT)
    lies = lists.look(DIGEST)
    assert version and lies and (lies.digest, lies.version_id) == (DIGEST, version)
    assert lists.put(DIGEST, TEXT) == version, "the same list again is no new version"
    assert lists.address(DIGEST).endswith(f"/lists/{DIGEST}.yaml") and lists.address(DIGEST).startswith("s3://")


def test_another_text_under_the_digest_is_refused_and_does_not_take_its_place(lists: Lists) -> None:
    with pytest.raises(Denied, match="holds another text"):
        lists.put(DIGEST, b"patches: []\n")
    with pytest.raises(Denied, match="holds another text"):
        lists.put(DIGEST, TEXT)


@pytest.mark.parametrize("digest", ["", "../../policies", "https://evil.example.com/list", DIGEST.upper()])
def test_only_a_digest_is_a_place(lists: Lists, digest: str) -> None:
    for ask in (lists.look, lists.address):
        with pytest.raises(Denied, match="no digest of an override list"):
            ask(digest)


def test_a_list_that_is_written_over_has_another_version(s3: Any, tmp_path: Path) -> None:
    bucket = BucketLists(BUCKET, client=lambda: s3)
    version = bucket.put(DIGEST, TEXT)
    s3.put_object(Bucket=BUCKET, Key=f"policies/lists/{DIGEST}.yaml", Body=TEXT)
    lies = bucket.look(DIGEST)
    assert lies and lies.digest == DIGEST and lies.version_id != version
    folder = FolderLists(tmp_path)
    folder.put(DIGEST, TEXT)
    (tmp_path / "lists" / f"{DIGEST}.yaml").write_bytes(b"patches: []\n")
    changed = folder.look(DIGEST)
    assert changed and changed.digest != DIGEST


def test_a_bucket_that_keeps_no_versions_holds_no_list(s3: Any) -> None:
    s3.create_bucket(Bucket="patchwarden-plain")
    with pytest.raises(Denied, match="keeps no versions: switch versioning on"):
        BucketLists("patchwarden-plain", client=lambda: s3).put(DIGEST, TEXT)
