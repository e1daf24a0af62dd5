"""The rules of the house hold, and breaking one is noticed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("chalicelib", "patchwarden")
SHIPS = [ROOT / "app.py", *sorted((ROOT / "chalicelib").rglob("*.py"))]
EVERY = sorted({*SHIPS, *(ROOT / "patchwarden").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")})
NOT_A_NOUN = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
NOT_OUR_WORDS = {"violation", "job", "waiver", "asset"}
LONGEST = 40


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- floors ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in OURS:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(where: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


def contracts() -> dict[str, dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}


def test_the_floors_stand(copy: Path) -> None:
    answer = lint_imports(copy)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("chalicelib/core/nodes.py", "from chalicelib import ports", "floors"),
        ("chalicelib/ports/ledger.py", "from chalicelib import intake", "floors"),
        ("chalicelib/intake.py", "from chalicelib import sweep", "floors"),
        ("chalicelib/wiring.py", "from chalicelib import api", "floors"),
        ("chalicelib/stray.py", "", "floors"),
        ("chalicelib/core/nodes.py", "import os", "pure"),
        ("chalicelib/ports/clock.py", "import logging", "pure"),
        ("chalicelib/intake.py", "import time", "pure"),
        ("chalicelib/sweep.py", "import boto3", "pure"),
        ("chalicelib/adapters/memory.py", "from chalicelib.adapters import sqlite", "adapters"),
        ("chalicelib/adapters/dynamodb/table.py", "from chalicelib.adapters import sqlite", "adapters"),
        ("chalicelib/adapters/memory.py", "from chalicelib import intake", "no-decisions"),
        ("chalicelib/api.py", "from chalicelib.adapters import memory", "ask-wiring"),
        ("patchwarden/cli.py", "from chalicelib.adapters import memory", "ask-wiring"),
        ("chalicelib/wiring.py", "import patchwarden", "service"),
        ("patchwarden/cli.py", "import app", "entry"),
    ],
)
def test_a_broken_floor_is_named(copy: Path, file: str, line: str, contract: str) -> None:
    with (copy / file).open("a") as source:
        source.write(f"\n{line}\n")
    answer = lint_imports(copy)
    assert answer.returncode == 1
    assert f"{contracts()[contract]['name']} BROKEN" in answer.stdout


def test_every_verb_is_under_the_contracts() -> None:
    floors = contracts()["floors"]["layers"]
    assert isinstance(floors, list)
    between = floors[floors.index("adapters") + 1 : floors.index("core")]
    verbs = {f"chalicelib.{name}" for row in between for name in re.findall(r"\w+", row)}
    places = [*(ROOT / "chalicelib").glob("*.py"), *(ROOT / "chalicelib").glob("*/__init__.py")]
    there = {f"chalicelib.{(path.parent if path.stem == '__init__' else path).stem}" for path in places}
    named_pure, named_foreign = contracts()["pure"]["source_modules"], contracts()["no-decisions"]["forbidden_modules"]
    assert isinstance(named_pure, list)
    assert isinstance(named_foreign, list)
    assert verbs & there <= {*named_pure}
    assert verbs & there <= {*named_foreign, "chalicelib.ports"}


def test_app_asks_only_wiring_and_the_routes() -> None:
    tree = ast.parse((ROOT / "app.py").read_text())
    assert not [name for name in imports(tree) if name.startswith(("chalicelib.adapters", "boto", "patchwarden"))]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# --- what may be written where --------------------------------------------------------------------------------------

NOW = "from datetime import UTC, datetime\n\nprint_me = datetime.now(UTC)\n"


def ruff(code: str, file: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", file, "-"]
    return subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("code", "file", "rule"),
    [
        # text that the linter must refuse: a mock
        ("from unittest.mock import Mock\n\nMock()\n", "tests/test_x.py", "TID251"),
        ("from unittest import mock\n\nmock.Mock()\n", "tests/test_x.py", "TID251"),
        # text that the linter must refuse: waiting in a test
        ("import time\n\ntime.sleep(1)\n", "tests/test_x.py", "TID251"),
        # text that the linter must refuse: waiting in a verb
        ("import time\n\ntime.sleep(1)\n", "chalicelib/intake.py", "TID251"),
        (NOW, "chalicelib/core/nodes.py", "TID251"),
        (NOW, "patchwarden/cli.py", "TID251"),
        ("import os\n\nHOME = os.environ['HOME']\n", "chalicelib/api.py", "TID251"),
        ("from uuid import uuid4\n\nuuid4()\n", "chalicelib/dispatch.py", "TID251"),
        # text that the linter must refuse: an error swallowed whole
        ("try:\n    pass\nexcept Exception:\n    print_me = 1\n", "chalicelib/api.py", "BLE001"),
        # text that the linter must refuse: work put off
        ("# TODO: later\n", "chalicelib/api.py", "FIX002"),
        ("print(1)\n", "chalicelib/api.py", "T201"),
    ],
)
def test_what_the_house_forbids_is_found(code: str, file: str, rule: str) -> None:
    answer = ruff(code, file)
    assert answer.returncode == 1
    assert rule in answer.stdout


@pytest.mark.parametrize("file", ["chalicelib/wiring.py", "chalicelib/adapters/sqlite.py"])
def test_the_edge_may_ask_the_clock(file: str) -> None:
    assert ruff(NOW, file).returncode == 0


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_a_file_opens_with_a_sentence(path: Path) -> None:
    source = path.read_text()
    sentence = ast.get_docstring(ast.parse(source))
    assert not source.strip() or (sentence and sentence.splitlines()[0].rstrip().endswith((".", ":", "?", ",")))


def test_a_file_is_a_noun_or_a_verb_of_ours() -> None:
    assert [named(path) for path in EVERY if path.stem in NOT_A_NOUN] == []


def test_the_words_mean_one_thing() -> None:
    used = [(named(path), word) for path in SHIPS for word in words(ast.parse(path.read_text()))]
    assert [(path, word) for path, word in used if NOT_OUR_WORDS & set(re.findall(r"[a-z]+", word.lower()))] == []


def words(tree: ast.AST) -> Iterator[str]:
    """Every name that the code gives to something, in its parts."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_a_function_is_read_in_one_look(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert [(node.name, length(node)) for node in functions if length(node) > LONGEST] == []


def length(function: ast.FunctionDef) -> int:
    """Lines from `def` to the end, the docstring not counted."""
    first = function.body[0]
    described = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if described else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


# --- the environment ------------------------------------------------------------------------------------------------


def test_the_lock_pins_everything_by_hash_and_names_no_place() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", "\n" + lock)
    pinned = [entry for entry in entries if re.match(r"[A-Za-z0-9]", entry)]
    assert len(pinned) > 50
    assert all(re.match(r"[\w.\-]+==\S+", entry) and "--hash=sha256:" in entry for entry in pinned)
    assert not re.search(r"://|--index-url|--find-links|file:", lock)


PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$1 $2" in
  "--version ") echo Python 3.12.1 ;;
  "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with our Makefile and lock, and a Python that only notes what it is asked to do."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    python = tmp_path / "python3.12"
    python.write_text(PYTHON.format(log=tmp_path / "log"))
    python.chmod(0o755)
    return tmp_path


def make(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("make"):
        pytest.skip("there is no make on this machine")
    command = ["make", "--no-print-directory", *arguments, f"PYTHON={where / 'python3.12'}"]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


def installed(where: Path) -> int:
    return (where / "log").read_text().count("--require-hashes")


def test_the_environment_is_made_once_and_again_when_the_lock_changes(machine: Path) -> None:
    said = make(machine, "venv")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("\n") == 1
    assert installed(machine) == 1
    (machine / "requirements.lock").touch()
    assert make(machine, "venv").stdout == ""
    assert installed(machine) == 1
    (machine / "requirements.lock").write_text("something==2\n")
    make(machine, "venv")
    assert installed(machine) == 2


def test_an_installation_that_broke_off_is_made_again(machine: Path) -> None:
    make(machine, "venv")
    (machine / ".venv" / "bin" / "python").unlink()
    make(machine, "venv")
    assert installed(machine) == 2


def test_an_older_python_is_told_what_is_needed(machine: Path) -> None:
    (machine / "python3.12").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    answer = make(machine, "venv")
    assert answer.returncode != 0
    assert "Patchwarden needs Python 3.11 or newer; found: Python 3.9.2" in answer.stdout
    assert not (machine / ".venv").exists()


def test_a_python_that_cannot_make_environments_is_told_what_to_install(machine: Path) -> None:
    (machine / "python3.12").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n')
    answer = make(machine, "venv")
    assert answer.returncode != 0
    assert "apt install python3-venv" in answer.stdout


def test_make_alone_lists_what_can_be_run(machine: Path) -> None:
    assert {"demo", "test", "check", "package"} <= set(re.findall(r"^  make (\w+)", make(machine).stdout, re.MULTILINE))
