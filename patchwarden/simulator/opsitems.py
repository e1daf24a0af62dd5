"""OpsItems: OpsCenter's tickets, with its own idea of what is the same.

https://docs.aws.amazon.com/systems-manager/latest/userguide/OpsCenter-working-deduplication.html
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.names import Names
from patchwarden.simulator.refusals import NotServed, Refusal

DEDUP = "/aws/dedup"
LONGEST_DEDUP = 512
LARGEST_VALUE = 20 * 1024

_OPEN = frozenset({"Open", "InProgress"})
_OUR_KEYS = frozenset({DEDUP, "/aws/resources", "/aws/automations"})
_RESERVED_KEY = re.compile(r"/?(amazon|aws|amzn|ssm)", re.IGNORECASE)
_RESERVED_SOURCE = re.compile(r"aws|amazon|amzn", re.IGNORECASE)
_SAID = ("Title", "Description", "Severity", "Category", "Priority", "RelatedOpsItems", "Notifications")


@dataclass(slots=True, eq=False)
class OpsItem:
    """One OpsItem; `values` under the names that GetOpsItem gives them."""

    id: str
    values: dict[str, Any]
    data: dict[str, dict[str, str]]
    dedup: str | None
    tags: tuple[Mapping[str, str], ...] = ()
    version: int = 1

    @property
    def open(self) -> bool:
        return self.values["Status"] in _OPEN

    def to_api(self) -> dict[str, Any]:
        """GetOpsItem's OpsItem."""
        return {**self.values, "OpsItemId": self.id, "OperationalData": self.data, "Version": str(self.version)}

    def summary(self) -> dict[str, Any]:
        """DescribeOpsItems' summary."""
        left_out = ("Description", "RelatedOpsItems", "Notifications", "Version", "OpsItemArn")
        return {key: value for key, value in self.to_api().items() if key not in left_out}


@dataclass(slots=True)
class OpsItems:
    """OpsCenter in every account and Region."""

    clock: VirtualClock
    names: Names
    _items: dict[Location, dict[str, OpsItem]] = field(default_factory=lambda: defaultdict(dict))

    def find(self, location: Location, item: str) -> OpsItem:
        found = self._items[location].get(item)
        if found is None:
            raise Refusal("OpsItemNotFoundException", f"OpsItem ID {item} not found")
        return found

    def create(self, location: Location, request: Mapping[str, Any], caller: str) -> OpsItem:
        """CreateOpsItem; OpsItemAlreadyExistsException names the open one with the same dedup string and resources."""
        if "AccountId" in request:
            raise NotServed("CreateOpsItem with AccountId")
        if _RESERVED_SOURCE.search(request["Source"]):
            raise _bad("Source", "The source can't contain the words aws, amazon or amzn")
        data = _valid_data(request.get("OperationalData", {}))
        dedup = _dedup(data)
        same = next((one for one in self._items[location].values() if dedup and one.open and one.dedup == dedup), None)
        if same:
            message = f"An OpsItem with the same dedup string is open: {same.id}"
            raise Refusal("OpsItemAlreadyExistsException", message, OpsItemId=same.id)
        item = self._new(location, request, data, dedup, caller)
        self._items[location][item.id] = item
        return item

    def update(self, location: Location, request: Mapping[str, Any], caller: str) -> None:
        """UpdateOpsItem; the dedup string of an OpsItem stays what it was."""
        item = self.find(location, request["OpsItemId"])
        changed = _valid_data(request.get("OperationalData", {}))
        if DEDUP in changed and changed[DEDUP] != item.data.get(DEDUP):
            raise _bad("OperationalData", f"{DEDUP} can't be changed after the OpsItem was created")
        item.values |= {name: request[name] for name in (*_SAID, "Status") if name in request}
        item.values |= {"LastModifiedBy": caller, "LastModifiedTime": self.clock.now()}
        kept = {key: value for key, value in item.data.items() if key not in request.get("OperationalDataToDelete", [])}
        item.data = kept | changed
        item.version += 1

    def matching(self, location: Location, filters: list[Mapping[str, Any]]) -> list[OpsItem]:
        """DescribeOpsItems, newest first."""
        items = reversed(self._items[location].values())
        return [item for item in items if all(_matches(item, one) for one in filters)]

    def _new(
        self, location: Location, request: Mapping[str, Any], data: dict[str, dict[str, str]], dedup: str | None,
        caller: str,
    ) -> OpsItem:  # fmt: skip
        now, id = self.clock.now(), f"oi-{self.names.hex('opsitem', 12)}"
        values = {name: request[name] for name in (*_SAID, "Source") if name in request}
        values |= {
            "OpsItemType": request.get("OpsItemType", "/aws/issue"),
            "Status": "Open",
            "CreatedBy": caller,
            "CreatedTime": now,
            "LastModifiedBy": caller,
            "LastModifiedTime": now,
            "OpsItemArn": f"arn:aws:ssm:{location.region}:{location.account}:opsitem/{id}",
        }
        return OpsItem(id, values, data, dedup, tuple(request.get("Tags", ())))


def _valid_data(data: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    for key, value in data.items():
        if _RESERVED_KEY.match(key) and key not in _OUR_KEYS:
            raise _bad("OperationalData", f"The key {key} is reserved")
        if len(value.get("Value", "")) > LARGEST_VALUE:
            raise _bad("OperationalData", f"The value of {key} is larger than 20 KB")
    return {key: {"Type": "String", "Value": "", **value} for key, value in data.items()}


def _dedup(data: Mapping[str, Mapping[str, str]]) -> str | None:
    """What makes an OpsItem the same as another: the dedup string together with the resources."""
    if DEDUP not in data:
        return None
    try:
        text = json.loads(data[DEDUP]["Value"])["dedupString"]
    except (ValueError, KeyError, TypeError) as error:
        raise _bad("OperationalData", f'{DEDUP} takes {{"dedupString": "…"}}') from error
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_DEDUP:
        raise _bad("OperationalData", f"a dedup string has 1 to {LONGEST_DEDUP} characters")
    return json.dumps([text, data.get("/aws/resources", {}).get("Value", "")])


def _bad(name: str, why: str) -> Refusal:
    return Refusal("OpsItemInvalidParameterException", why, ParameterNames=[name])


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "Equal": lambda found, wanted: found == wanted,
    "Contains": lambda found, wanted: wanted in found,
    "GreaterThan": lambda found, wanted: found > wanted,
    "LessThan": lambda found, wanted: found < wanted,
}
_FIELDS = (
    "Status", "CreatedBy", "Source", "Title", "OpsItemId", "Category", "Severity", "OpsItemType", "CreatedTime",
    "LastModifiedTime",
)  # fmt: skip


def _matches(item: OpsItem, wanted: Mapping[str, Any]) -> bool:
    compare, values = _OPERATORS[wanted["Operator"]], wanted["Values"]
    return any(compare(found, _like(found, value)) for found in _found(item, wanted["Key"]) for value in values)


def _like(found: Any, text: str) -> Any:
    """A filter's text as what it is compared with."""
    if isinstance(found, datetime):
        return datetime.fromisoformat(text)
    return json.loads(text) if isinstance(found, dict) else text


def _found(item: OpsItem, key: str) -> list[Any]:
    """What of an OpsItem a filter key speaks of."""
    if key not in _FILTERED:
        raise NotServed(f"DescribeOpsItems with the filter {key}")
    return [value for value in _FILTERED[key](item) if value is not None]


def _resources(item: OpsItem) -> list[str]:
    return [one["arn"] for one in json.loads(item.data.get("/aws/resources", {}).get("Value", "[]"))]


_FILTERED: dict[str, Callable[[OpsItem], list[Any]]] = {
    **{key: lambda item, key=key: [item.to_api().get(key)] for key in _FIELDS},  # type: ignore[misc]
    "Priority": lambda item: [str(item.values["Priority"])] if "Priority" in item.values else [],
    "OperationalDataKey": lambda item: list(item.data),
    "OperationalDataValue": lambda item: [
        value["Value"] for value in item.data.values() if value["Type"] == "SearchableString"
    ],
    "OperationalData": lambda item: [{"key": key, "value": value["Value"]} for key, value in item.data.items()],
    "ResourceId": _resources,
}
