"""SSM on patch baselines and their patch groups, as Systems Manager answers.

A node's next scan uses the baseline that its group is registered with, and says so. What a baseline approves is not
simulated: what is missing stays what the platform's own baseline approves.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribePatchBaselines.html
"""

from __future__ import annotations

from chalicelib.core.baselines import operating_system
from patchwarden.simulator import baselines
from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.refusals import NotServed, Refusal


def _shelf(aws: Aws, caller: Caller) -> baselines.Shelf:
    return aws.baselines[caller.location]


def _settle(aws: Aws, caller: Caller) -> None:
    """Which baseline every node gets from now on: its group's, the default, or the one that it always had."""
    shelf = _shelf(aws, caller)
    for machine in aws.fleet.at(caller.location):
        predefined = aws.predefined.setdefault(machine.node, machine.baseline)
        os = operating_system(machine.platform.name, machine.platform.version) or ""
        machine.baseline = shelf.groups.get((os, machine.group)) or shelf.defaults.get(os) or predefined


def create_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    id = f"pb-0{aws.names.uuid('baseline').replace('-', '')[:16]}"
    return {"BaselineId": baselines.create(_shelf(aws, caller), id, dict(request), aws.clock.now())}


def update_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    return baselines.update(_shelf(aws, caller), dict(request), aws.clock.now())


def get_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    shelf = _shelf(aws, caller)
    kept = baselines.find(shelf, request["BaselineId"])
    groups = [group for (_, group), id in shelf.groups.items() if id == kept.id]
    return {**baselines.told(kept), "PatchGroups": sorted(groups)}


def describe_patch_baselines(aws: Aws, caller: Caller, request: Request) -> Reply:
    return baselines.describe(_shelf(aws, caller), dict(request))


def describe_patch_groups(aws: Aws, caller: Caller, request: Request) -> Reply:
    return baselines.groups(_shelf(aws, caller), dict(request))


def register_patch_baseline_for_patch_group(aws: Aws, caller: Caller, request: Request) -> Reply:
    baselines.register(_shelf(aws, caller), request["BaselineId"], request["PatchGroup"])
    _settle(aws, caller)
    return {"BaselineId": request["BaselineId"], "PatchGroup": request["PatchGroup"]}


def deregister_patch_baseline_for_patch_group(aws: Aws, caller: Caller, request: Request) -> Reply:
    baselines.deregister(_shelf(aws, caller), request["BaselineId"], request["PatchGroup"])
    _settle(aws, caller)
    return {"BaselineId": request["BaselineId"], "PatchGroup": request["PatchGroup"]}


def register_default_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    shelf = _shelf(aws, caller)
    kept = baselines.find(shelf, request["BaselineId"])
    shelf.defaults[kept.os] = kept.id
    _settle(aws, caller)
    return {"BaselineId": kept.id}


def delete_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    baselines.delete(_shelf(aws, caller), request["BaselineId"])
    return {"BaselineId": request["BaselineId"]}


def add_tags_to_resource(aws: Aws, caller: Caller, request: Request) -> Reply:
    if request["ResourceType"] != "PatchBaseline":
        raise NotServed(f"AddTagsToResource to a {request['ResourceType']}")
    shelf = _shelf(aws, caller)
    if request["ResourceId"] not in shelf.own:
        raise Refusal("InvalidResourceId", f"The resource ID {request['ResourceId']} is not valid")
    shelf.own[request["ResourceId"]].tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    return {}


OPERATIONS: dict[str, Operation] = {
    "CreatePatchBaseline": create_patch_baseline,
    "UpdatePatchBaseline": update_patch_baseline,
    "GetPatchBaseline": get_patch_baseline,
    "DescribePatchBaselines": describe_patch_baselines,
    "DescribePatchGroups": describe_patch_groups,
    "RegisterPatchBaselineForPatchGroup": register_patch_baseline_for_patch_group,
    "DeregisterPatchBaselineForPatchGroup": deregister_patch_baseline_for_patch_group,
    "RegisterDefaultPatchBaseline": register_default_patch_baseline,
    "DeletePatchBaseline": delete_patch_baseline,
    "AddTagsToResource": add_tags_to_resource,
}
