"""The policy store: where compiled sets lie, and which of them is in force."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import MAKING, Refusal, botocore_session, configuration, translating
from chalicelib.core.errors import Denied, PolicyError, Temporary
from chalicelib.core.policies import PolicySet
from chalicelib.core.publications import Publication
from chalicelib.ports import Clock, Ledger, Notices, PolicyStore, Shelf

CHECKED = timedelta(seconds=30)
"""How old the knowledge of what is in force may be: a published set decides everywhere within 60 s."""

_LOOK_BACK = 5
"""How many sets a process that knows none yet looks back through."""


class Packed:
    """The compiled set in a file beside the code, loaded when it is first asked for."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._loaded: PolicySet | None = None

    def active(self) -> PolicySet:
        """The set of the file; PolicyError if it cannot be read or does not load."""
        if self._loaded is None:
            self._loaded = load(self._text())
        return self._loaded

    def trouble(self) -> str | None:
        return None

    def _text(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise PolicyError(f"the compiled policy set {self._path} cannot be read: {error.strerror}") from error


class Fixed:
    """A set that somebody else has loaded."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies

    def active(self) -> PolicySet:
        return self._policies

    def trouble(self) -> str | None:
        return None


class Published:
    """Follows the set that the ledger says is in force; looks again when its last look is older than `CHECKED`.

    A set that cannot be had or does not load is refused: the last good one decides on, then the one published before
    it, then the one packed with the code; a notice says so with every look.
    """

    def __init__(self, ledger: Ledger, shelf: Shelf, packed: PolicyStore, *, clock: Clock, notices: Notices) -> None:
        self._ledger, self._shelf, self._packed = ledger, shelf, packed
        self._clock, self._notices = clock, notices
        self._looked: datetime | None = None
        self._good: PolicySet | None = None
        self._trouble: str | None = None

    def active(self) -> PolicySet:
        """The set that decides; PolicyError if none loads, Temporary if the ledger did not answer a first look."""
        now = self._clock.now()
        if self._looked is None or not now - CHECKED < self._looked <= now:
            self._look()
            self._looked = now
        return self._good or self._packed.active()

    def trouble(self) -> str | None:
        return self._trouble

    def _look(self) -> None:
        try:
            said = self._ledger.active_policies()
        except (Temporary, Denied) as error:
            if self._looked is None:
                raise
            self._refuse(f"the ledger does not say which set is in force: {error}", None)
            return
        self._trouble = None
        if said is None or (self._good and self._good.digest == said.digest):
            return
        try:
            self._good = self._fetch(said.digest)
        except (PolicyError, Temporary, Denied) as error:
            self._good = self._good or self._earlier(said)
            self._refuse(f"the set {said.digest[:12]} that {said.by} published does not load: {error}", said.digest)

    def _fetch(self, digest: str) -> PolicySet:
        found = load(self._shelf.get(digest))
        if found.digest != digest:
            raise PolicyError(f"it is another set, {found.digest[:12]}")
        return found

    def _earlier(self, refused: Publication) -> PolicySet | None:
        """The set that was last in force before the refused one, as a process would have it that ran all the time."""
        earlier = [line.digest for line in reversed(self._ledger.publications()) if line.digest != refused.digest]
        for digest in list(dict.fromkeys(earlier))[:_LOOK_BACK]:
            try:
                return self._fetch(digest)
            except (PolicyError, Temporary, Denied):
                continue
        return None

    def _refuse(self, because: str, digest: str | None) -> None:
        self._trouble = because
        decides = "kept" if self._good else "packed"
        self._notices.say("policies_refused", because=because, digest=digest, decides=decides)


class Folder:
    """The port `Shelf` in a folder: where the ledger is a file, beside it."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def put(self, digest: str, text: bytes) -> None:
        """Whole or not at all: nobody ever reads half a document."""
        place = self._place(digest)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            half = place.with_suffix(".half")
            half.write_bytes(text)
            half.replace(place)
        except OSError as error:
            raise Denied(f"the policy folder {self._path} cannot be written: {error.strerror}") from error

    def get(self, digest: str) -> bytes:
        place = self._place(digest)
        try:
            return place.read_bytes()
        except OSError as error:
            raise PolicyError(f"{place} cannot be read: {error.strerror}") from error

    def _place(self, digest: str) -> Path:
        return self._path / f"{_checked(digest)}.json"


class Bucket:
    """The port `Shelf` in a versioned S3 bucket, under `policies/`; the client is made when it is first used.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """

    def __init__(self, bucket: str, client: Callable[[], Any] | None = None) -> None:
        self._bucket = bucket
        self._connect = client or _client
        self._connected: Any = None

    def put(self, digest: str, text: bytes) -> None:
        """S3 compares the checksum before it keeps the object."""
        self._ask("put_object", digest, Body=text, ContentType="application/json", ChecksumAlgorithm="SHA256")

    def get(self, digest: str) -> bytes:
        try:
            answer = self._ask("get_object", digest)
        except Refusal as refusal:
            if refusal.code != "NoSuchKey":
                raise
            raise PolicyError(f"the bucket {self._bucket} has no set {digest[:12]}") from refusal
        with translating(f"bucket {self._bucket} s3:get_object"):
            text: bytes = answer["Body"].read()
        return text

    def _ask(self, operation: str, digest: str, **parameters: Any) -> dict[str, Any]:
        key = f"policies/{_checked(digest)}.json"
        with translating(f"bucket {self._bucket} s3:{operation}"):
            answer: dict[str, Any] = getattr(self._client(), operation)(Bucket=self._bucket, Key=key, **parameters)
        return answer

    def _client(self) -> Any:
        """Made by one hand alone; several may use it."""
        with MAKING:
            self._connected = self._connected or self._connect()
            return self._connected


def load(text: bytes) -> PolicySet:
    """The set in a compiled document; PolicyError if it is no JSON, or not one that loads."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PolicyError(f"the compiled policy set is no JSON: {error}") from error
    return PolicySet.load(document)


_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _checked(digest: str) -> str:
    """What a ledger says becomes part of a path: it must be a digest."""
    if not _DIGEST.match(digest):
        raise PolicyError(f"{digest!r:.80} is no digest of a policy set")
    return digest


def _client() -> Any:
    return botocore_session().create_client("s3", config=configuration().merge(Config(parameter_validation=False)))
