"""Lists: where override lists lie, in our own versioned bucket, in a folder or in memory, each under its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import Refusal, botocore_session, configuration, translating
from chalicelib.core.errors import Denied
from chalicelib.ports import Lying

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class BucketLists:
    """The port `Lists` in a versioned S3 bucket, under `policies/lists/`; the client is made when it is first used.

    `owner`: the account that the bucket must belong to.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """

    def __init__(self, bucket: str, owner: str | None = None, client: Callable[[], Any] | None = None) -> None:
        self._bucket, self._owner = bucket, owner
        self._connect = client or _client
        self._connected: Any = None

    def put(self, digest: str, text: bytes) -> str:
        """S3 keeps it only if nothing lies there; what lies there already must be the same text."""
        try:
            self._ask("put_object", digest, Body=text, ContentType="application/yaml", ChecksumAlgorithm="SHA256",
                      IfNoneMatch="*")  # fmt: skip
        except Refusal as refusal:
            if refusal.code not in ("PreconditionFailed", "412"):
                raise
        return _same(self.look(digest), digest, self.address(digest))

    def look(self, digest: str) -> Lying | None:
        try:
            answer = self._ask("get_object", digest)
        except Refusal as refusal:
            if refusal.code != "NoSuchKey":
                raise
            return None
        with translating(f"bucket {self._bucket} s3:get_object"):
            text: bytes = answer["Body"].read()
        version = answer.get("VersionId")
        if version in (None, "null"):
            raise Denied(f"the bucket {self._bucket} keeps no versions: switch versioning on")
        return Lying(hashlib.sha256(text).hexdigest(), str(version))

    def address(self, digest: str) -> str:
        return f"s3://{self._bucket}/policies/{_key(digest)}"

    def _ask(self, operation: str, digest: str, **parameters: Any) -> dict[str, Any]:
        owner = {"ExpectedBucketOwner": self._owner} if self._owner else {}
        with translating(f"bucket {self._bucket} s3:{operation}"):
            self._connected = self._connected or self._connect()
            asked = {"Bucket": self._bucket, "Key": f"policies/{_key(digest)}", **owner, **parameters}
            answer: dict[str, Any] = getattr(self._connected, operation)(**asked)
        return answer


class FolderLists:
    """The port `Lists` in a folder, where the ledger is a file; its version is the moment of the last write."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def put(self, digest: str, text: bytes) -> str:
        place = self._path / _key(digest)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(text)
        except FileExistsError:
            pass
        except OSError as error:
            raise Denied(f"the policy folder {self._path} cannot be written: {error.strerror}") from error
        return _same(self.look(digest), digest, str(place))

    def look(self, digest: str) -> Lying | None:
        place = self._path / _key(digest)
        try:
            text = place.read_bytes()
            return Lying(hashlib.sha256(text).hexdigest(), f"{place.stat().st_mtime_ns:x}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Denied(f"{place} cannot be read: {error.strerror}") from error

    def address(self, digest: str) -> str:
        return f"s3://patchwarden-local/{_key(digest)}"

    def text(self, digest: str) -> bytes:
        """What lies there, for a simulated node to read."""
        return (self._path / _key(digest)).read_bytes()


class MemoryLists:
    """The port `Lists` in memory; `kept` holds text and version by digest."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, str]] = {}

    def put(self, digest: str, text: bytes) -> str:
        self.kept.setdefault(_checked(digest), (text, f"v{len(self.kept) + 1}"))
        return _same(self.look(digest), digest, self.address(digest))

    def look(self, digest: str) -> Lying | None:
        found = self.kept.get(_checked(digest))
        return Lying(hashlib.sha256(found[0]).hexdigest(), found[1]) if found else None

    def address(self, digest: str) -> str:
        return f"s3://patchwarden-memory/{_key(digest)}"


def _same(lies: Lying | None, digest: str, place: str) -> str:
    """The version of what lies there, which must be what was put: a list is never written over."""
    if lies is None:
        raise Denied(f"the override list {place} was written and is not there")
    if lies.digest != digest:
        raise Denied(f"{place} holds another text, of sha256 {lies.digest[:12]}…: find out who wrote it, and remove it")
    return lies.version_id


def _key(digest: str) -> str:
    return f"lists/{_checked(digest)}.yaml"


def _checked(digest: str) -> str:
    """What a ledger or a policy says becomes part of a path: it must be a digest."""
    if not _DIGEST.match(digest):
        raise Denied(f"{digest!r:.80} is no digest of an override list")
    return digest


def _client() -> Any:
    return botocore_session().create_client("s3", config=configuration().merge(Config(parameter_validation=False)))
