"""What goes to Lambda is whole, small, the same twice, and may do no more than it must."""

from __future__ import annotations

import json
import marshal
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from bench.coldstart import write_alone
from chalicelib.core.policies import PolicySet
from chalicelib.wiring import Settings
from tests.once import package
from tests.templates import resolved

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = {
    "OnConfigRule": "on_config_rule",
    "OnSsmCompliance": "on_ssm_compliance",
    "OnExecution": "on_execution",
    "OnNodeState": "on_node_state",
    "OnDispatch": "on_dispatch",
    "OnSweep": "on_sweep",
    "OnSchedules": "on_schedules",
    "OnCheckpoint": "on_checkpoint",
    "OnExport": "on_export",
    "Remediate": "remediate",
    "APIHandler": "app",
}
LISTENS = {
    "OnConfigRule": ("aws.config", "Config Rules Compliance Change"),
    "OnSsmCompliance": ("aws.ssm", "Configuration Compliance State Change"),
    "OnExecution": ("aws.ssm", "EC2 Automation Execution Status-change Notification"),
    "OnNodeState": ("aws.ec2", "EC2 Instance State-change Notification"),
}
RATES = {
    "OnDispatch": "rate(1 minute)",
    "OnSweep": "rate(15 minutes)",
    "OnSchedules": "rate(5 minutes)",
    "OnCheckpoint": "rate(1 hour)",
    "OnExport": "rate(1 day)",
}
EVIDENCE = {"OnCheckpoint", "OnExport"}
"""They copy and sign what is there: they ask no node and change no trail."""
TOP = {"app.py", "__pycache__", "chalice", "chalicelib", "aws_xray_sdk", "wrapt", "jsonpath_ng", "cronsim", "tzdata",
       "jinja2", "markupsafe"}  # fmt: skip
NOT_OF_A_STACK = {"sqlite", "policies", "hub_account", "evidence_lock", "evidence_days", "failures", "rule_failures"}
"""A file is no table, the packed set is where it is, the hub's own nodes have a member role too, only the operator
reads the failure queues, and the bucket's default retention locks evidence."""
LAMBDA_HAS = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
MEGABYTE = 1_000_000
Template = dict[str, Any]


@pytest.fixture(scope="module")
def made(packages: Callable[[str], Path]) -> Path:
    return packages("prod")


@pytest.fixture(scope="module")
def resources(made: Path) -> Template:
    """As they come to be in one account, with every reference filled in."""
    return resolved(json.loads((made / "sam.json").read_text()))


@pytest.fixture(scope="module")
def functions(resources: Template) -> Template:
    return {name: found["Properties"] for name, found in resources.items() if found["Type"].endswith("::Function")}


@pytest.fixture(scope="module")
def unpacked(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(made / "deployment.zip") as archive:
        archive.extractall(where)
    return where


# --- the template ---------------------------------------------------------------------------------------------------


def test_every_way_in_is_a_function(functions: Template) -> None:
    assert {name: found["Handler"] for name, found in functions.items()} == {
        name: f"app.{handler}" for name, handler in FUNCTIONS.items()
    }


def test_every_function_has_its_own_role(functions: Template, resources: Template) -> None:
    roles = [role_of(found) for found in functions.values()]
    assert len({*roles}) == len(functions)
    assert all(resources[role]["Type"] == "AWS::IAM::Role" for role in roles)


def role_of(function: Template) -> str:
    return str(function["Role"]).rpartition("/")[2]


def statements(resources: Template, function: str) -> list[Template]:
    role = resources[role_of(resources[function]["Properties"])]
    policies = role["Properties"]["Policies"]
    assert "ManagedPolicyArns" not in role["Properties"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def actions(resources: Template, function: str) -> set[str]:
    return {action for statement in statements(resources, function) for action in statement["Action"]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_role_holds_a_wildcard_action(resources: Template, function: str) -> None:
    assert {"logs:PutLogEvents", "xray:PutTraceSegments"} <= actions(resources, function)
    assert [action for action in actions(resources, function) if "*" in action] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_knows_no_resources_is_allowed_on_all(resources: Template, function: str) -> None:
    everywhere = [found for found in statements(resources, function) if "*" in found["Resource"]]
    others = {action for found in everywhere for action in found["Action"] if not action.startswith("xray:")}
    follows = function in ("OnSchedules", "OnExecution")
    assert others == ({"ssm:DescribeAutomationExecutions"} if follows else set())


def test_what_keeps_evidence_writes_it_and_deletes_nothing(resources: Template) -> None:
    bucket = "patchwarden-prod-evidence-111122223333-eu-west-1"
    key = "arn:aws:kms:eu-west-1:111122223333:key/SigningKey"
    allowed: dict[str, set[tuple[str, str]]] = {
        function: {(action, arn) for one in statements(resources, function) for action in one["Action"]
                   for arn in one["Resource"] if bucket in arn or arn == key}
        for function in FUNCTIONS
    }  # fmt: skip
    lists = ("s3:ListBucket", f"arn:aws:s3:::{bucket}")

    def at(action: str, *folders: str) -> set[tuple[str, str]]:
        return {(f"s3:{action}", f"arn:aws:s3:::{bucket}/{folder}*") for folder in folders}

    def versions(*folders: str) -> set[tuple[str, str]]:
        """What is first put is what counts: a delete marker or a second version may cover it."""
        listed = ("s3:ListBucketVersions", lists[1])
        return {listed, *at("GetObject", *folders), *at("GetObjectVersion", *folders)}

    copied = ("trail/", "standing/", "service/", "policies/")
    assert {function: held for function, held in allowed.items() if held} == {
        "OnCheckpoint": {lists, *versions("checkpoints/"), *at("PutObject", "checkpoints/"), ("kms:Sign", key)},
        "OnExport": {lists, *at("GetObject", *copied), *at("PutObject", *copied)},
        "APIHandler": {lists, *versions(""), ("kms:Verify", key)},
    }


def test_what_signs_the_trail_cannot_write_to_it(resources: Template) -> None:
    """All that it keeps in the ledger is the last checkpoint's number, under the name that evidence.py gives it."""
    writes = [one for one in statements(resources, "OnCheckpoint") if "dynamodb:PutItem" in one["Action"]]
    assert [(one["Action"], one["Condition"]) for one in writes] == [
        (["dynamodb:PutItem"], {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["K#evidence/*"]}})
    ]
    assert '_KEPT = "evidence/' in (ROOT / "chalicelib" / "evidence.py").read_text()


def test_schedules_start_one_document_here_and_pass_one_role_on(resources: Template) -> None:
    ssm = "arn:aws:ssm:eu-west-1:111122223333"
    held = {action: one for one in statements(resources, "OnSchedules") for action in one["Action"]}
    assert held["ssm:StartAutomationExecution"]["Resource"] == [
        f"{ssm}:document/Patchwarden-PatchFleet",
        f"{ssm}:automation-definition/Patchwarden-PatchFleet:*",
        f"{ssm}:automation-execution/*",
    ]
    assert held["iam:PassRole"]["Resource"] == [
        "arn:aws:iam::111122223333:role/AWS-SystemsManager-AutomationAdministrationRole"
    ]
    assert held["iam:PassRole"]["Condition"] == {"StringEquals": {"iam:PassedToService": "ssm.amazonaws.com"}}
    others = {name for name in FUNCTIONS if actions(resources, name) & {"ssm:StartAutomationExecution", "iam:PassRole"}}
    assert others == {"OnSchedules"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_reads_published_policies_and_writes_none(resources: Template, function: str) -> None:
    found = [one for one in statements(resources, function) if any(act.startswith("s3:") for act in one["Action"])]
    others = [one for one in found if "evidence" not in one["Resource"][0]]
    bucket = "arn:aws:s3:::patchwarden-prod-policies-111122223333-eu-west-1"
    reading = [(["s3:GetObject"], [f"{bucket}/policies/*"]), (["s3:ListBucket"], [bucket])]
    decides = function != "OnCheckpoint"  # which looks at hashes alone
    assert [(one["Action"], one["Resource"]) for one in others] == reading * decides


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_become_the_member_role_and_no_other(resources: Template, function: str) -> None:
    assuming = [found for found in statements(resources, function) if "sts:AssumeRole" in found["Action"]]
    member = [] if function in EVIDENCE else [["arn:aws:iam::*:role/patchwarden-member"]]
    assert [found["Resource"] for found in assuming] == member


def asked_of_dynamodb() -> set[str]:
    """The permissions that the ledger's calls need; those of a transaction are those of its parts.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    """
    source = "".join(path.read_text() for path in (ROOT / "chalicelib" / "adapters" / "dynamodb").glob("*.py"))
    calls = {*re.findall(r'_ask\(\s*"(\w+)"', source)} - {"transact_write_items"}
    parts = {*re.findall(r'{"(Put|Delete|Update|ConditionCheck)":', source)}
    return {"dynamodb:" + call.title().replace("_", "") for call in calls} | {f"dynamodb:{part}Item" for part in parts}


@pytest.mark.parametrize("function", sorted(set(FUNCTIONS) - EVIDENCE))
def test_a_function_may_do_in_the_ledger_what_the_ledger_does_and_no_more(resources: Template, function: str) -> None:
    allowed = {action for action in actions(resources, function) if action.startswith("dynamodb:")}
    assert allowed == asked_of_dynamodb()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_traced_and_sized(functions: Template, function: str) -> None:
    found = functions[function]
    assert found["Tracing"] == "Active"
    assert found["MemorySize"] >= 512
    assert found["Timeout"] <= 900


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_told_only_what_wiring_reads(functions: Template, function: str) -> None:
    told = functions[function]["Environment"]["Variables"]
    assert told["PATCHWARDEN_TABLE"] == "patchwarden-prod"
    assert told["PATCHWARDEN_SIGNING_KEY"] == "arn:aws:kms:eu-west-1:111122223333:key/SigningKey"
    assert {*told} == {f"PATCHWARDEN_{name.upper()}" for name in {*Settings.__slots__} - NOT_OF_A_STACK}


def test_the_clockwork_never_runs_twice_at_once_and_nothing_without_bounds(functions: Template) -> None:
    limits = {name: found["ReservedConcurrentExecutions"] for name, found in functions.items()}
    assert {name for name, limit in limits.items() if limit == 1} == {*RATES}
    assert max(limits.values()) <= 20
    assert sum(limits.values()) <= 100


def event_of(functions: Template, name: str, bus: str = "") -> Template:
    found: Template = functions[name]["Events"][f"{name}{bus}Event"]
    return found


@pytest.mark.parametrize("function", LISTENS)
@pytest.mark.parametrize("bus", ["", "Hub"])
def test_a_function_hears_its_kind_of_event(functions: Template, function: str, bus: str) -> None:
    event = event_of(functions, function, bus)
    source, kind = LISTENS[function]
    assert event["Type"] == "EventBridgeRule"
    assert event["Properties"]["Pattern"]["source"] == [source]
    assert event["Properties"]["Pattern"]["detail-type"] == [kind]


@pytest.mark.parametrize("function", LISTENS)
def test_what_comes_over_the_hubs_bus_is_matched_as_what_comes_at_home(functions: Template, function: str) -> None:
    home, hub = event_of(functions, function)["Properties"], event_of(functions, function, "Hub")["Properties"]
    assert hub["EventBusName"] == "patchwarden-prod"
    assert {**home, "EventBusName": "patchwarden-prod"} == hub


def test_config_rules_are_told_apart_by_resource_type_not_by_name(functions: Template) -> None:
    detail = event_of(functions, "OnConfigRule")["Properties"]["Pattern"]["detail"]
    assert {*detail["resourceType"]} == {"AWS::SSM::PatchCompliance", "AWS::SSM::AssociationCompliance"}
    assert "configRuleName" not in detail


@pytest.mark.parametrize("function", RATES)
def test_the_clockwork_runs_at_its_rate(functions: Template, function: str) -> None:
    event = event_of(functions, function)
    assert (event["Type"], event["Properties"]["Schedule"]) == ("Schedule", RATES[function])


def test_every_route_is_behind_iam(resources: Template) -> None:
    api = resources["RestAPI"]["Properties"]
    routes = [method for path in api["DefinitionBody"]["paths"].values() for method in path.values()]
    assert len(routes) >= 4
    assert all(route["security"] == [{"sigv4": []}] for route in routes)
    assert api["DefinitionBody"]["securityDefinitions"]["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    assert api["DefinitionBody"]["securityDefinitions"]["pool"] is None
    assert api["EndpointConfiguration"] == "REGIONAL"


def test_every_route_is_behind_the_user_pool_if_one_is_named(made: Path) -> None:
    pool = "arn:aws:cognito-idp:eu-west-1:111122223333:userpool/eu-west-1_aBcDeFgHi"
    api = resolved(json.loads((made / "sam.json").read_text()), UserPoolArn=pool)["RestAPI"]["Properties"]
    routes = [method for path in api["DefinitionBody"]["paths"].values() for method in path.values()]
    assert all(route["security"] == [{"pool": []}] for route in routes)
    asked = api["DefinitionBody"]["securityDefinitions"]["pool"]["x-amazon-apigateway-authorizer"]
    assert asked == {"type": "cognito_user_pools", "providerARNs": [pool]}


# --- the zip --------------------------------------------------------------------------------------------------------


def test_two_builds_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = package("prod", tmp_path / "elsewhere")
    for name in ("deployment.zip", "sam.json"):
        assert (made / name).read_bytes() == (again / name).read_bytes()


def test_the_zip_is_small(made: Path) -> None:
    assert (made / "deployment.zip").stat().st_size <= 3 * MEGABYTE


def test_the_zip_holds_the_service_and_nothing_else(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"} == TOP
    assert [path for path in unpacked.rglob("*") if path.suffix in {".so", ".sqlite", ".yaml"}] == []


def test_the_zip_carries_the_policies_it_falls_back_on(unpacked: Path) -> None:
    packed = json.loads((unpacked / "chalicelib" / "policies.json").read_text())
    assert len(packed["policies"]) == len([*(ROOT / "policies").glob("[!_]*.yaml")])


def test_every_module_has_bytecode_that_is_not_checked(unpacked: Path) -> None:
    for module in unpacked.rglob("*.py"):
        bytecode = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
        header, code = bytecode.read_bytes()[:16], marshal.loads(bytecode.read_bytes()[16:])
        assert int.from_bytes(header[4:8], "little") == 0b01
        assert isinstance(code, CodeType)
        assert code.co_filename == f"/var/task/{module.relative_to(unpacked).as_posix()}"


ALONE = """
import pkgutil, sys
sys.path[:0] = sys.argv[1:]
import app, chalicelib, jsonpath_ng.ext, cronsim, aws_xray_sdk.core, zoneinfo
for found in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
    __import__(found.name)
zoneinfo.reset_tzpath([])
zoneinfo.ZoneInfo("Europe/Berlin")
outside = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", "") or "")]
print(sorted({name.split(".")[0] for name in outside}))
"""


def test_the_unpacked_zip_imports_by_itself(unpacked: Path, tmp_path: Path) -> None:
    for name in LAMBDA_HAS:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        (tmp_path / (origin.parent.name if found.submodule_search_locations else origin.name)).symlink_to(
            origin.parent if found.submodule_search_locations else origin
        )
    command = [sys.executable, "-I", "-S", "-B", "-c", ALONE, str(unpacked), str(tmp_path)]
    done = subprocess.run(command, cwd=unpacked, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_cold_start_is_measured_by_an_event_that_decides_alone(tmp_path: Path) -> None:
    """The benchmark takes away from the packed set what asks for anything; a new question would stop it."""
    made = write_alone(ROOT / "chalicelib" / "policies.json", tmp_path)
    assert PolicySet.load(json.loads(made.read_text(encoding="utf-8"))).blocks == set()
