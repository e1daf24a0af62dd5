"""Make the Lambda zip and the CloudFormation template: offline, and the same bytes from the same commit.

Chalice writes both. What it leaves to us: it would download packages without hashes (we hand it the ones of this
environment, which came from requirements.lock), it ships neither policies nor bytecode, and it ships our caches.
Lambda's disk is read-only, so bytecode that is not in the zip is compiled anew by every cold start; it is marked
unchecked because the date of a file in a zip says nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import click
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT)]  # run as a file, Python would look for modules beside it

from deploy.template import asking, merging  # noqa: E402

TASK = "/var/task"  # where Lambda unpacks the zip; tracebacks name the files there
UNDECLARED = ("aws-xray-sdk", "wrapt")  # requirements.txt says why they are not listed there
NOT_PYTHON = {".c", ".pyc", ".pyd", ".pyi", ".so"}  # wrapt does without its extension: one zip for every architecture
EPOCH = (1980, 1, 1, 0, 0, 0)
FRESH = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}  # sets are marshalled in hash order


def a_stage(context: click.Context, option: click.Parameter, name: str) -> str:
    """The stage, if .chalice/config.json has it: Chalice would make any other one up."""
    stages = json.loads((ROOT / ".chalice" / "config.json").read_text(encoding="utf-8"))["stages"]
    if name not in stages:
        raise click.BadParameter(f"there is no stage {name!r} in .chalice/config.json: it has {', '.join(stages)}")
    return name


@click.command()
@click.option("--stage", default="dev", show_default=True, callback=a_stage, help="A stage of .chalice/config.json.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "build" / "package", show_default=False)
def main(stage: str, out: Path) -> None:
    """Write OUT/sam.json and OUT/deployment.zip."""
    archive = package(stage, out)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    print(f"{archive}  {archive.stat().st_size:,} bytes  sha256 {digest}")


def package(stage: str, out: Path) -> Path:
    """Package one stage into `out`; the path of the zip."""
    with tempfile.TemporaryDirectory(prefix="patchwarden-") as temporary:
        project = Path(temporary, "project")
        lay_out(project)
        merge = Path(temporary, "merge.json")
        merge.write_text(json.dumps(merging(stage)))
        run_chalice(project, stage, merge, out.resolve())
        template = out / "sam.json"
        template.write_text(json.dumps(asking(json.loads(template.read_text())), indent=1))
        archive = out.resolve() / "deployment.zip"
        contents = Path(temporary, "contents")
        with zipfile.ZipFile(archive) as made:
            made.extractall(contents)
        compile_all(contents)
        pack(contents, archive)
    return archive


def lay_out(project: Path) -> None:
    """Copy what ships; without a requirements.txt Chalice asks no package index."""
    shutil.copytree(ROOT / "chalicelib", project / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".chalice", project / ".chalice", ignore=shutil.ignore_patterns("deploy*"))
    shutil.copy(ROOT / "app.py", project)
    compile_policies(project / "chalicelib" / "policies.json")
    for name in shipped():
        copy_distribution(distribution(name), project / "vendor")


def compile_policies(file: Path) -> None:
    """Write the set that a function falls back on; ends here if a policy has a problem."""
    command = [sys.executable, "-m", "patchwarden", "policy", "compile", "policies", "--file", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr or f"patchwarden policy compile: exit {done.returncode}")


def shipped() -> list[str]:
    """The distributions that go into the zip."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [Requirement(line).name for line in lines if line] + list(UNDECLARED)


def copy_distribution(source: Distribution, vendor: Path) -> None:
    for path in shipped_files(source):
        target = vendor / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(source.locate_file(path)), target)


def shipped_files(source: Distribution) -> Iterator[str]:
    """Modules, data, and of the metadata the name, version and licence that a scanner looks for."""
    for path in source.files or ():
        kept = ".dist-info" not in path.parts[0] or path.name == "METADATA" or "LICENSE" in path.name.upper()
        if kept and path.parts[0] != ".." and path.suffix not in NOT_PYTHON:
            yield str(path)


def run_chalice(project: Path, stage: str, merge: Path, out: Path) -> None:
    """Chalice writes YAML if it merges YAML; JSON comes out in one order."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PATCHWARDEN_")}
    environment = {"AWS_DEFAULT_REGION": "us-east-1", **ours, **FRESH}
    command = [sys.executable, "-c", "from chalice.cli import main; main()", "package", "--stage", stage]
    extra = ["--merge-template", str(merge), str(out)]
    subprocess.run([*command, *extra], cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)


def compile_all(contents: Path) -> None:
    """Put bytecode beside every module, in a fresh interpreter: marshal's output depends on what ran before."""
    flags = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(contents), "-p", TASK]
    command = [sys.executable, "-m", "compileall", *flags, str(contents)]
    subprocess.run(command, env={**os.environ, **FRESH}, check=True)


def pack(contents: Path, archive: Path) -> None:
    """Zip in order of name, without dates, owners or permissions."""
    files = sorted(path for path in contents.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "w") as made:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(contents).as_posix(), date_time=EPOCH)
            entry.external_attr = 0o644 << 16
            made.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main()
