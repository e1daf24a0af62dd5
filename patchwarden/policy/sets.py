"""Sets: which policy set a person means by a directory, a git revision, a published digest, or the word active."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import PolicySet
from chalicelib.ports import Shelf
from patchwarden.policy.compile import Directory, compiled, read_directory
from patchwarden.policy.fixtures import situation
from patchwarden.policy.replay import Asked
from patchwarden.scope import Scope

_SHORTEST = 7


@dataclass(frozen=True, slots=True)
class Named:
    """A set under the name that a person gave it; `directory` and `document` are what it was compiled from and to."""

    title: str
    policies: PolicySet
    directory: Directory | None = None
    document: Mapping[str, Any] = field(default_factory=dict, hash=False)


def named(text: str, scope: Scope, *, path: str = "policies") -> Named:
    """The set; ClickException if there is none. `path` is where in a git revision the policies are.

    The ledger is asked only for `active` and for what neither a directory nor git knows.
    """
    if Path(text).is_dir():
        return from_directory(text, Path(text))
    if text == "active":
        policies = scope.ports().policies.active()
        return Named(f"active ({policies.digest[:12]})", policies)
    packed = _archived(text, path)
    if isinstance(packed, bytes):
        return _unpacked(text, packed, path)
    digest, shelf = published(text, scope), scope.shelf()
    if digest and shelf:
        return Named(digest[:12], lying(shelf, digest))
    raise click.ClickException(f"{text} is no directory, not active, no published digest, and git says: {packed}")


def published(text: str, scope: Scope) -> str | None:
    """The published digest that begins so, or None; several are refused."""
    if len(text) < _SHORTEST:
        return None
    found = sorted({line.digest for line in scope.ports().ledger.publications() if line.digest.startswith(text)})
    if len(found) > 1:
        raise click.ClickException(f"{text} begins several digests: {', '.join(digest[:16] for digest in found)}")
    return found[0] if found else None


def lying(shelf: Shelf, digest: str) -> PolicySet:
    """The set that lies under the digest; PolicyError if it is not that one, or does not load."""
    try:
        policies = PolicySet.load(json.loads(shelf.get(digest)))
    except ValueError as error:
        raise PolicyError(f"the set {digest[:12]} does not load: it is no JSON: {error}") from error
    if policies.digest != digest:
        raise PolicyError(f"under {digest[:12]} lies another set: {policies.digest[:12]}")
    return policies


def from_directory(title: str, path: Path) -> Named:
    """The set of a directory; ClickException with its problems if it has errors."""
    directory = read_directory(path)
    if not directory.sound:
        problems = "\n".join(problem.text() for problem in directory.problems)
        raise click.ClickException(f"{title} has problems:\n{problems}")
    document = compiled(directory)
    return Named(title, PolicySet.load(document), directory, document)


def _archived(revision: str, path: str) -> bytes | str:
    """The path as it is in that git revision, as a zip; or why git has none."""
    ask = ["git", "archive", "--format=zip", "--end-of-options", revision, path]
    try:
        return subprocess.run(ask, capture_output=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        said: str = error.stderr.decode(errors="replace").strip()
        return said
    except OSError as error:
        return str(error)


def _unpacked(title: str, packed: bytes, path: str) -> Named:
    with tempfile.TemporaryDirectory(prefix="patchwarden-") as folder:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        return from_directory(title, Path(folder) / path)


def revision_of(directory: Path) -> str | None:
    """The git revision that the directory stands at, `+` behind it if the files differ; None outside git."""
    try:
        head = _git(directory, "rev-parse", "HEAD")
        return f"{head}+" if _git(directory, "status", "--porcelain", "--", ".") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(directory: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *words], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def tested(directory: Directory) -> Iterator[Asked]:
    """The situations that the tests of a directory speak of, as if each had been a decision."""
    for _, policy in directory.policies.values():
        for test in policy.tests:
            fixture = directory.fixtures[test.event]
            assert fixture is not None, "a directory with a broken fixture is not sound"
            try:
                found = situation(fixture, test.set, test.unset)
            except LookupError:
                continue
            now = test.now or found.finding.observed_at
            yield Asked(f"{policy.id}: {test.name}", now, found.finding, found.case, found.facts)
