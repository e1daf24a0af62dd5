"""The vault of evidence: a folder, or an S3 bucket with Object Lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import Refusal, botocore_session, configuration, translating
from chalicelib.core.errors import Denied
from chalicelib.ports import Clock, Original


class FolderVault:
    """The port `Vault` in a folder. A folder locks nothing: `locked` only refuses to write over what is there."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def put(self, name: str, body: bytes, *, locked: bool = False) -> None:
        place = self._path / name
        try:
            if locked and place.exists() and place.read_bytes() != body:
                raise Denied(f"{place} is there already and must not be changed")
            place.parent.mkdir(parents=True, exist_ok=True)
            half = place.with_name(place.name + ".half")
            half.write_bytes(body)
            half.replace(place)
        except OSError as error:
            raise Denied(f"the evidence folder {self._path} cannot be written: {error.strerror}") from error

    def get(self, name: str, version: str | None = None) -> bytes | None:
        place = self._path / name
        try:
            return place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Denied(f"{place} cannot be read: {error.strerror}") from error

    def names(self, prefix: str) -> list[str]:
        top = self._path / prefix.rpartition("/")[0]
        found = (str(file.relative_to(self._path).as_posix()) for file in top.rglob("*") if file.is_file())
        return sorted(name for name in found if name.startswith(prefix) and not name.endswith(".half"))

    def originals(self, prefix: str) -> dict[str, Original]:
        return {name: Original("") for name in self.names(prefix)}


class BucketVault:
    """The port `Vault` in a versioned bucket with Object Lock; the client is made when it is first used.

    What is locked is put only if nothing has its name, and kept for `days` in `mode`, or without `days` as the bucket's
    default retention says: GOVERNANCE lets who holds s3:BypassGovernanceRetention shorten that, COMPLIANCE nobody.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
    """

    def __init__(
        self, bucket: str, clock: Clock, *, mode: str = "COMPLIANCE", days: int | None = None,
        client: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        self._bucket, self._clock, self._mode, self._days = bucket, clock, mode, days
        self._connect = client or _client
        self._connected: Any = None

    def put(self, name: str, body: bytes, *, locked: bool = False) -> None:
        held: dict[str, Any] = {"IfNoneMatch": "*"} if locked else {}
        if locked and self._days:
            until = self._clock.now() + timedelta(days=self._days)
            held |= {"ObjectLockMode": self._mode, "ObjectLockRetainUntilDate": until}
        try:
            self._ask("put_object", Key=name, Body=body, ChecksumAlgorithm="SHA256", **held)
        except Refusal as refusal:
            if not locked or refusal.code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            if self.get(name) != body:
                raise Denied(f"s3://{self._bucket}/{name} is there already and must not be changed") from refusal

    def get(self, name: str, version: str | None = None) -> bytes | None:
        try:
            answer = self._ask("get_object", Key=name, **({"VersionId": version} if version else {}))
        except Refusal as refusal:
            if refusal.code not in ("NoSuchKey", "NoSuchVersion"):
                raise
            return None
        with translating(f"bucket {self._bucket} s3:get_object"):
            body: bytes = answer["Body"].read()
        return body

    def names(self, prefix: str) -> list[str]:
        found, token = list[str](), dict[str, str]()
        while True:
            page = self._ask("list_objects_v2", Prefix=prefix, **token)
            found += [item["Key"] for item in page.get("Contents", ())]
            if not page.get("NextContinuationToken"):
                return sorted(found)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def originals(self, prefix: str) -> dict[str, Original]:
        """S3 names the newest version of a key first.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
        """
        found, start = dict[str, Original](), dict[str, str]()
        while True:
            page = self._ask("list_object_versions", Prefix=prefix, **start)
            for item in page.get("Versions", ()):
                known = found.get(item["Key"], Original(None, 0))
                found[item["Key"]] = replace(known, version=item["VersionId"], puts=known.puts + 1)
            for item in page.get("DeleteMarkers", ()):
                found[item["Key"]] = replace(found.get(item["Key"], Original(None, 0)), hidden=True)
            if not page.get("IsTruncated"):
                return dict(sorted(found.items()))
            start = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        with translating(f"bucket {self._bucket} s3:{operation}"):
            self._connected = self._connected or self._connect()
            answer: dict[str, Any] = getattr(self._connected, operation)(Bucket=self._bucket, **parameters)
        return answer


def _client() -> Any:
    return botocore_session().create_client("s3", config=configuration().merge(Config(parameter_validation=False)))
