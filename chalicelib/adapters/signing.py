"""Who signs checkpoints: a key of KMS, or for a ledger in a file a secret beside it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import Refusal, botocore_session, configuration, translating
from chalicelib.core.errors import Denied


class KmsSigner:
    """The port `Signer` with an asymmetric key (ECC_NIST_P256, SIGN_VERIFY) that never leaves KMS.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
    """

    def __init__(self, key: str, client: Callable[[], Any] | None = None) -> None:
        self._key = key
        self._connect = client or _client
        self._connected: Any = None

    @property
    def key(self) -> str:
        return self._key

    @property
    def algorithm(self) -> str:
        return "ECDSA_SHA_256"

    def sign(self, digest: bytes) -> bytes:
        answer = self._ask("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm=self.algorithm)
        signature: bytes = answer["Signature"]
        return signature

    def verify(self, key: str, algorithm: str, digest: bytes, signature: bytes) -> bool:
        """Only the key that this deployment names is trusted: a checkpoint cannot choose its own."""
        if key != self._key or algorithm != self.algorithm:
            return False
        try:
            answer = self._ask("verify", Message=digest, MessageType="DIGEST", Signature=signature,
                               SigningAlgorithm=algorithm)  # fmt: skip
        except Refusal as refusal:
            if refusal.code != "KMSInvalidSignature":
                raise
            return False
        return bool(answer["SignatureValid"])

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        with translating(f"key {self._key} kms:{operation}"):
            self._connected = self._connected or self._connect()
            answer: dict[str, Any] = getattr(self._connected, operation)(KeyId=self._key, **parameters)
        return answer


class FileSigner:
    """The port `Signer` with a secret in a file, made when it is first used: for demos and tests.

    An HMAC: whoever can read the file can sign anything, so it proves nothing to others. KMS does.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    @property
    def key(self) -> str:
        return f"file/{hashlib.sha256(self._secret()).hexdigest()[:16]}"

    @property
    def algorithm(self) -> str:
        return "HMAC_SHA_256"

    def sign(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret(), digest, "sha256")

    def verify(self, key: str, algorithm: str, digest: bytes, signature: bytes) -> bool:
        known = (key, algorithm) == (self.key, self.algorithm)
        return known and hmac.compare_digest(self.sign(digest), signature)

    def _secret(self) -> bytes:
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600, exist_ok=False)
                self._path.write_bytes(secrets.token_bytes(32))
            return self._path.read_bytes()
        except OSError as error:
            raise Denied(f"the signing key {self._path} cannot be used: {error.strerror}") from error


def _client() -> Any:
    return botocore_session().create_client("kms", config=configuration().merge(Config(parameter_validation=False)))
