"""Cold start: import app and decide the first event, against what any service on this stack pays before it begins.

Both run from the unpacked zip, as Lambda would, in fresh interpreters that take turns; the medians are compared. AWS is
a local server that knows one node, so time on the network and in TLS is in neither. The table lists two first events:
one that the policies can decide from the event alone (the budget's case), and one for which the node is looked up.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from bench.storm import COLDSTART, write_part
from chalicelib.core.compiled import digest_of
from chalicelib.core.policies import PolicySet

ROOT = Path(__file__).resolve().parent.parent
LAMBDA_HAS = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
EVENT = ROOT / "tests" / "events" / "config_patch_non_compliant.json"
PLACE = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
START = "import sys, time; began = time.perf_counter(); sys.path[:0] = sys.argv[1:3]\n"
END = """
took = time.perf_counter() - began
import json, resource
try:
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:  # no /proc: macOS counts bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"ms": took * 1000, "mb": peak / 1024}))
"""
SPEAKS = "dev-now"  # remediates at once: no ticket system is called
NODE = "i-0a1b2c3d4e5f60718"
KNOWN = {
    "InstanceInformationList": [{"InstanceId": NODE, "PingStatus": "Online", "PlatformType": "Linux"}],
    "InstancePatchStates": [{"InstanceId": NODE, "PatchGroup": "dev", "BaselineId": "pb-1", "Operation": "Scan",
                             "OperationStartTime": 1.0, "OperationEndTime": 2.0, "MissingCount": 1}],
    "Patches": [{"Title": "openssl", "KBId": "openssl", "Classification": "Security", "Severity": "Important",
                 "State": "Missing", "InstalledTime": 0.0}],
    "OpsItemId": "oi-1",
    "Items": [],
}  # fmt: skip
INSTANCE = f"""<DescribeInstancesResponse><reservationSet><item><instancesSet><item>
<instanceId>{NODE}</instanceId><instanceState><name>running</name></instanceState>
<tagSet><item><key>Environment</key><value>dev</value></item></tagSet>
</item></instancesSet></item></reservationSet></DescribeInstancesResponse>"""
CLIENTS = "import boto3, chalice.app\nfor name in sys.argv[3].split(): boto3.client(name)\n"
DECIDE = """import json, app
said = app.on_config_rule(json.load(open(sys.argv[3])), None)
assert said["status"] == "decided", said
"""

PAGE = """## A cold start

Importing the unpacked zip and deciding the first event, in fresh interpreters that take turns with what any service
on this stack pays before it begins; medians of {runs}. AWS is a local server, so networks and TLS are in neither.
*Alone* is an event that the policies decide by itself; the shipped ones look at the node, for which two more clients
are made.

```text
{told}
```
"""


@click.command()
@click.option("--runs", default=11, show_default=True, help="Fresh interpreters of each kind.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=False)
def main(runs: int, out: Path) -> None:
    """Print the ratios beside their budgets, and write them into benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder, answering() as endpoint:
        task, beside = unpack(Path(folder))
        alone = write_alone(task / "chalicelib" / "policies.json", Path(folder))
        paths = [str(task), str(beside)]
        told = {**PLACE, "AWS_ENDPOINT_URL": endpoint, "PATCHWARDEN_HUB_ACCOUNT": account()}
        kinds: dict[str, tuple[str, str, dict[str, str]]] = {
            "boto3, a dynamodb client, chalice": (CLIENTS, "dynamodb", told),
            "app, first event alone": (DECIDE, str(EVENT), {**told, "PATCHWARDEN_POLICIES": str(alone)}),
            "boto3, dynamodb, ssm, ec2, chalice": (CLIENTS, "dynamodb ssm ec2", told),
            "app, first event and its node": (DECIDE, str(EVENT), told),
        }
        taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(runs):
            for kind, (program, argument, environment) in kinds.items():
                taken[kind].append(run(program, [*paths, argument], environment))
        said = report(taken, (Path(folder) / "made" / "deployment.zip").stat().st_size)
    click.echo(said)
    write_part(out / "benchmarks.md", COLDSTART, PAGE.format(runs=runs, told=said))


def unpack(folder: Path) -> tuple[Path, Path]:
    """The unpacked zip, and a folder with what Lambda's runtime has of its own."""
    command = [sys.executable, str(ROOT / "deploy" / "package.py"), "--out", str(folder / "made")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(folder / "made" / "deployment.zip") as archive:
        archive.extractall(folder / "task")
    beside = folder / "beside"
    beside.mkdir()
    for name in LAMBDA_HAS:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
        (beside / origin.name).symlink_to(origin)
    return folder / "task", beside


def write_alone(packed: Path, folder: Path) -> Path:
    """The packed set, but its policies look at nothing that must be asked for."""
    document = json.loads(packed.read_text())
    for policy in document["policies"]:
        speaks = account() if policy["id"] == SPEAKS else "000000000000"
        condition = {"path": "$.account", "steps": ["account"], "operator": "equals", "operand": speaks,
                     "match": "any", "if_missing": False, "line": None}  # fmt: skip
        policy["when"] = {"all": [condition], "any": [], "none": []}
        policy["then"]["limits"]["error_budget"] = None  # a budget asks which patches are missing
        policy["then"]["limits"]["per_group"] = None  # a group is told by the node's tags, and so is a wave
        policy["then"]["waves"] = []
    document["settings"] |= {"immutable": None, "surge": None}
    document.pop("digest")
    whole = {**document, "digest": digest_of(document)}
    asked = PolicySet.load(whole).blocks
    assert not asked, f"this set asks for {', '.join(sorted(asked))}: it would not measure an event that decides alone"
    file = folder / "alone.json"
    file.write_text(json.dumps(whole))
    return file


def account() -> str:
    found: str = json.loads(EVENT.read_text())["account"]
    return found


def run(program: str, arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-S", "-B", "-E", "-s", "-c", START + program + END, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


@contextmanager
def answering() -> Iterator[str]:
    """A local server that answers every AWS call from one small world."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Known)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Known(BaseHTTPRequestHandler):
    """JSON for the services that name a target in a header, XML for EC2."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write: else the second one waits for the acknowledgement of the first

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = json.dumps(KNOWN) if self.headers.get("X-Amz-Target") else INSTANCE
        body = known.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


def report(taken: dict[str, list[dict[str, float]]], size: int) -> str:
    medians = {kind: {unit: statistics.median(each[unit] for each in all_) for unit in ("ms", "mb")}
               for kind, all_ in taken.items()}  # fmt: skip
    base, alone, wide, looked = medians.values()
    return "\n".join((
        *(f"{kind:<36} {found['ms']:7.0f} ms {found['mb']:6.1f} MB" for kind, found in medians.items()),
        f"cold start, first event alone        {alone['ms'] / base['ms']:7.2f} x     budget 1.2",
        f"cold start, with its node            {looked['ms'] / wide['ms']:7.2f} x     no budget",
        f"memory after the first decision      {alone['mb']:7.1f} MB    budget 40 (the base alone: {base['mb']:.1f})",
        f"zip                                  {size / 1e6:7.2f} MB    budget 3",
    ))  # fmt: skip


if __name__ == "__main__":
    main()
