"""The policy store: where the compiled set in force comes from."""

from __future__ import annotations

import json
from pathlib import Path

from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import PolicySet


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


def load(text: bytes) -> PolicySet:
    """The set in a compiled document; PolicyError if it is no JSON, or not one that loads."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PolicyError(f"the compiled policy set is no JSON: {error}") from error
    return PolicySet.load(document)
