"""Write what deploy/member.yaml takes from elsewhere: the event patterns of core/events.py, and the runbooks.

The end of the template, after the line that names this file, is written anew; all above it is by hand. The documents
have no VersionName: a name is used once in a document for ever, and a stack that goes back to it would be refused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "deploy" / "member.yaml"
MARK = "  # --- written by deploy/member.py"
BUS, ROLE, QUEUE = "HubBusArn", "ForwarderRole", "Undelivered"


class Sub(str):
    """A text with `!Sub` before it."""


class Ref(str):
    """A name with `!Ref` before it."""


class GetAtt(str):
    """A name and an attribute with `!GetAtt` before it."""


class Writer(yaml.SafeDumper):
    """YAML as people write it: long texts as blocks, CloudFormation's short forms, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _tagged(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar(f"!{type(text).__name__}", str(text))


for kind in (Sub, Ref, GetAtt):
    Writer.add_representer(kind, _tagged)
Writer.add_representer(str, _text)


def written() -> str:
    """The template as it should be."""
    head, mark, _ = TEMPLATE.read_text(encoding="utf-8").partition(MARK)
    line = mark + _.splitlines()[0]
    resources = {**rules(), **runbooks()}
    body = yaml.dump(resources, Dumper=Writer, sort_keys=False, width=116, allow_unicode=True)
    return head + line + "\n" + "".join(f"  {row}\n" if row else "\n" for row in body.splitlines())


def rules() -> dict[str, Any]:
    """One forwarding rule for each pattern that a handler of the hub listens for."""
    from chalicelib.core.events import EVENT_PATTERNS

    return {_logical(handler): _rule(handler, pattern) for handler, pattern in EVENT_PATTERNS.items()}


def _rule(handler: str, pattern: Mapping[str, Any]) -> dict[str, Any]:
    target = {
        "Id": "hub",
        "Arn": Ref(BUS),
        "RoleArn": Sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/patchwarden-forwarder"),
        "DeadLetterConfig": {"Arn": GetAtt(f"{QUEUE}.Arn")},
        "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
    }
    return {
        "Type": "AWS::Events::Rule",
        "Condition": "Forwarding",
        "Properties": {
            "Name": f"patchwarden-{handler.replace('_', '-')}",
            "Description": f"What {handler} of the hub listens for",
            "State": "ENABLED",
            "EventPattern": dict(pattern),
            "Targets": [target],
        },
    }


def _logical(handler: str) -> str:
    return "Forward" + "".join(part.capitalize() for part in handler.removeprefix("on_").split("_"))


def runbooks() -> dict[str, Any]:
    """One document for each file of runbooks/."""
    return {
        f"Runbook{path.stem.removeprefix('Patchwarden-')}": {
            "Type": "AWS::SSM::Document",
            "Condition": "WithRunbooks",
            "Properties": {
                "Name": path.stem,
                "DocumentType": "Automation",
                "DocumentFormat": "JSON",
                "TargetType": "/AWS::EC2::Instance",  # else a tag names the volumes that carry it too
                "UpdateMethod": "NewVersion",
                "Content": content,
            },
        }
        for path, content in sources()
    }


def sources() -> list[tuple[Path, dict[str, Any]]]:
    """Each runbook's file and what it holds."""
    files = sorted((ROOT / "runbooks").glob("Patchwarden-*.yaml"))
    return [(path, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    TEMPLATE.write_text(written(), encoding="utf-8")
