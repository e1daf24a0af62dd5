"""What may go wrong around an emergency: races, old sets, doubtful scans, lost lists; each ends on the careful side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import emergency, intake, seek
from chalicelib.adapters.lists import MemoryLists
from chalicelib.adapters.memory_fleets import MemoryFleets
from chalicelib.core.emergencies import STOPPED, Emergency, Scope
from chalicelib.core.errors import PolicyError, Temporary
from chalicelib.core.facts import Patch
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Node
from chalicelib.core.overrides import Named, PatchList, digest_of_list, text_of
from chalicelib.core.plans import OVERRIDE, snapshot_id
from chalicelib.core.remediations import Remediation, State
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from tests.sets import HERE, NODE, NOW, policy, policy_set, scan
from tests.verbs.conftest import Broken, World

XZ = Named("xz-libs", "5.6.2-1")
ID = "emergency-xz"
OLD = Patch("xz-libs.x86_64", "xz-libs.x86_64:0:5.6.0-1", "", "", "INSTALLED_OTHER")
NEW = replace(OLD, title="xz-libs.x86_64:0:5.6.2-1", state="INSTALLED_OTHER")


def equals(step: str, value: str) -> dict[str, Any]:
    return {"path": f"$.finding.{step}", "steps": ["finding", step], "operator": "equals", "operand": value,
            "match": "any", "if_missing": False, "line": None}  # fmt: skip


def urgent(id: str = ID, **given: Any) -> dict[str, Any]:
    """The compiled policy of an emergency, as `emergency start` writes it."""
    told = {"band": "emergency", "expires": "2026-12-01T00:00:00Z", "patches": [listed().to_json()], **given}
    return policy(id, equals("control", "emergency"), equals("rule", id), **told)


def listed(version: str = "v1") -> PatchList:
    return PatchList("Linux", None, digest_of_list([XZ]), version, (XZ,))


@dataclass
class Zone(World):
    """The memory ports, with the nodes that Systems Manager manages and the bucket of lists."""

    fleets: MemoryFleets = field(default_factory=lambda: MemoryFleets(HERE))
    lists: Any = field(default_factory=MemoryLists)

    @property
    def ports(self) -> Ports:
        return replace(World.ports.fget(self), fleets=self.fleets, lists=self.lists)  # type: ignore[attr-defined, no-any-return]

    def managed(self, *patches: Patch, node: Node = NODE, **state: Any) -> Node:
        """A node that its baseline finds compliant, with these patches in its scan."""
        found = scan(NOW - timedelta(hours=1), missing=0, patches=patches)
        self.fleets.there.setdefault(node.location, []).append(node.id)
        return self.node(node, replace(found, id=node.id), **state)

    def begin(self, id: str = ID, **given: Any) -> Emergency:
        """The emergency as the command starts it: list stored, policy in force, journal, cases."""
        if isinstance(self.lists, MemoryLists):
            self.lists.put(listed().list, text_of([XZ]))
        one = Emergency(
            id, (), (listed(),), Scope(), self.clock.now(), NOW + timedelta(days=3), "night", "now", **given
        )
        emergency.begin(self.ports, one)
        self.policies = policy_set(urgent(id), policy())
        seek.find(self.ports, HERE, one)
        return one

    def emergency(self, node: Node = NODE) -> Remediation:
        found = self.ledger.head(remediation_id(node, Control.EMERGENCY))
        assert found is not None
        return found

    def told(self, node: Node = NODE) -> list[str]:
        return [line.cause.value for line in self.ledger.trail(remediation_id(node, Control.EMERGENCY))]

    def ends(self, *patches: Patch, install: str = "Success", **counts: Any) -> None:
        """The execution ends, and its own scan says this."""
        case = self.emergency()
        state = scan(self.clock.now(), snapshot=snapshot_id(str(case.batch)), missing=0, patches=patches, **counts)
        self.inventory.scan(NODE, state)
        self.end(str(case.execution), install)


@pytest.fixture
def zone() -> Zone:
    return Zone()


def test_a_compliant_node_is_found_and_no_clean_baseline_scan_closes_its_case(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    assert zone.emergency().state is State.QUEUED
    zone.say(compliant=True)
    sweep(zone.ports)
    assert zone.emergency().state is State.QUEUED
    zone.round()
    assert zone.automations.started[0].parameters[OVERRIDE] == [zone.lists.address(listed().list)]
    sweep(zone.ports)
    assert zone.emergency().state is State.RUNNING


@pytest.mark.parametrize(("found", "state", "sentence"), [
    ((NEW,), State.RESOLVED, "the node has xz-libs 5.6.2-1"),
    ((OLD,), State.WAITING, "the install reported success, but"),
    ((replace(NEW, state="INSTALLED_PENDING_REBOOT"),), State.REBOOT_PENDING, "waits for a reboot"),
    ((), State.RESOLVED, "not applicable"),
])  # fmt: skip
def test_the_named_patches_decide_after_an_execution(
    zone: Zone, found: tuple[Patch, ...], state: State, sentence: str
) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.round()
    zone.ends(*found)
    assert zone.emergency().state is state and sentence in zone.emergency().because


def test_a_failed_install_does_not_pass_for_not_applicable(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.round()
    zone.ends(install="Failed")
    assert zone.emergency().state is State.WAITING and "the install ended Failed" in zone.emergency().because


def test_what_did_not_apply_is_not_found_again_but_what_was_taken_back_is(zone: Zone) -> None:
    zone.managed()
    one = zone.begin()
    zone.round()
    zone.ends()
    assert zone.emergency().state is State.RESOLVED
    zone.pass_minutes(60)
    zone.inventory.scan(NODE, scan(zone.clock.now(), missing=0, patches=()))
    assert seek.find(zone.ports, HERE, one).opened == 0
    zone.pass_minutes(60)
    zone.inventory.scan(NODE, scan(zone.clock.now(), missing=0, patches=(OLD,)))
    assert seek.find(zone.ports, HERE, one).opened == 1
    assert zone.emergency().state is State.QUEUED and zone.emergency().attempts == 0


def test_only_lacking_leaves_nodes_alone_whose_scan_says_nothing(zone: Zone) -> None:
    zone.managed()
    zone.begin(only_lacking=True)
    assert zone.ledger.head(remediation_id(NODE, Control.EMERGENCY)) is None


def test_a_reboot_that_comes_later_closes_the_case_by_name(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.round()
    zone.ends(replace(NEW, state="INSTALLED_PENDING_REBOOT"), pending_reboot=1)
    assert zone.emergency().state is State.REBOOT_PENDING
    zone.pass_minutes(60)
    zone.inventory.scan(NODE, scan(zone.clock.now(), missing=3, patches=(NEW,)))
    sweep(zone.ports)
    assert zone.emergency().state is State.RESOLVED and "the node has xz-libs" in zone.emergency().because


def test_what_somebody_else_installed_before_the_start_needs_none(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.inventory.scan(NODE, scan(zone.clock.now(), missing=3, patches=(NEW,)))
    zone.round()
    assert zone.automations.started == []
    assert zone.emergency().state is State.RESOLVED and "read again before the start" in zone.emergency().because


def test_a_service_that_has_the_old_set_still_neither_starts_nor_drops_a_case(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    new, zone.policies = zone.policies, policy_set()
    zone.round()
    assert zone.emergency().state is State.QUEUED and zone.told() == ["queued"]
    zone.policies = new
    zone.round()
    assert zone.emergency().state is State.RUNNING


def test_after_a_stop_nothing_starts_even_where_the_policy_is_still_in_force(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    assert emergency.end(zone.ports, ID, STOPPED, by="night", because="withdrawn") is not None
    zone.round()
    assert zone.automations.started == [] and zone.emergency().state is State.OPEN
    assert "emergency-xz is stopped: night: withdrawn" in zone.emergency().because
    sweep(zone.ports)
    assert zone.emergency().state is State.OPEN and emergency.end(zone.ports, ID, STOPPED, by="x", because="y") is None


def test_after_its_end_nothing_starts(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.pass_minutes(3 * 24 * 60)
    zone.round()
    assert zone.automations.started == [] and "expired" in zone.emergency().because


def test_a_list_that_cannot_be_read_holds_and_goes_on_when_it_can(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.lists = Broken(zone.lists, "look", Temporary("S3 is slow"))
    zone.round()
    assert zone.automations.started == [] and zone.emergency().state is State.QUEUED
    assert zone.emergency().held == "list"
    zone.round()
    assert zone.emergency().state is State.RUNNING


@pytest.mark.parametrize(("text", "version", "sentence"), [
    (b"patches: []\n", "v1", "was changed: its sha256 is"), (None, "v2", "was written over: version v2, recorded v1"),
    (None, None, "is gone"),
])  # fmt: skip
def test_a_list_that_is_not_the_recorded_one_halts_the_emergency(
    zone: Zone, text: bytes | None, version: str | None, sentence: str
) -> None:
    zone.managed(OLD)
    zone.begin()
    kept = zone.lists.kept
    good = kept.pop(listed().list)
    if version:
        kept[listed().list] = (text or good[0], version)
    zone.round()
    assert zone.automations.started == [] and zone.emergency().state is State.TICKETED
    assert sentence in zone.emergency().because and zone.emergency().ticket
    halted = emergency.named(zone.ledger, ID)
    assert halted and halted.state == "halted" and not halted.in_force(zone.clock.now())
    # started anew once the list is as it was, the ticketed node comes back
    kept[listed().list] = good
    zone.pass_minutes(5)
    zone.begin()
    zone.round()
    assert zone.emergency().state is State.RUNNING


def test_a_second_emergency_takes_a_node_over_when_the_first_is_done_with_it(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.policies = policy_set(urgent(), urgent("emergency-two"))
    two = Emergency("emergency-two", (), (listed(),), Scope(), NOW, NOW + timedelta(days=1), "night", "two")
    emergency.begin(zone.ports, two)
    assert seek.find(zone.ports, HERE, two).opened == 0 and zone.emergency().emergency == ID
    zone.pass_minutes(1)
    emergency.end(zone.ports, ID, STOPPED, by="night", because="the other one is enough")
    zone.round()
    zone.pass_minutes(60)
    sweep(zone.ports)
    assert zone.emergency().emergency == "emergency-two" and zone.emergency().state is State.QUEUED


def test_a_second_emergency_asks_again_after_a_node_that_the_first_was_working_on(zone: Zone) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.round()
    zone.policies = policy_set(urgent(), urgent("emergency-two"))
    two = Emergency("emergency-two", (), (listed(),), Scope(), NOW, NOW + timedelta(days=1), "night", "two")
    emergency.begin(zone.ports, two)
    emergency.end(zone.ports, ID, STOPPED, by="night", because="the other one is enough")
    zone.pass_minutes(15)
    sweep(zone.ports)
    assert zone.emergency().state is State.RUNNING and zone.emergency().emergency == ID
    zone.end(str(zone.emergency().execution), "Failed")
    for _ in range(4):
        zone.pass_minutes(15)
        zone.round()
        sweep(zone.ports)
    assert zone.emergency().emergency == "emergency-two", "no newer scan has come"


def test_a_node_without_a_list_for_its_system_is_not_acted_on(zone: Zone) -> None:
    zone.managed(OLD, platform="Windows")
    zone.begin()
    assert zone.ledger.head(remediation_id(NODE, Control.EMERGENCY)) is None
    asked = {"ResourceId": NODE.id, "AccountId": NODE.account, "Region": NODE.region, "Control": "emergency"}
    receipt = intake.request(zone.ports, asked)
    assert receipt.status == "ignored" and "no emergency has found" in receipt.because


def test_freezes_hold_an_emergency_unless_it_names_them(zone: Zone) -> None:
    year_end = {
        "name": "year-end",
        "since": "2026-11-01T00:00:00Z",
        "until": "2026-11-30T00:00:00Z",
        "reason": "closed",
    }
    for through, state in (([], State.WAITING), (["year-end"], State.QUEUED)):
        each = Zone()
        each.managed(OLD)
        each.begin()
        each.policies = policy_set(urgent(through=through), freezes=[year_end])
        intake.again(each.ports, each.emergency())
        assert each.emergency().state is state, through


def test_hooks_documents_and_started_nodes_do_not_go_with_named_patches() -> None:
    for given in ({"hooks": {"pre_install": "Drain"}}, {"stopped": "start"},
                  {"document": {"name": "Mine", "version": "1", "parameters": {}}}):  # fmt: skip
        one = urgent()
        one["then"] |= given
        with pytest.raises(PolicyError, match=f"patches do not go with {next(iter(given))}"):
            policy_set(one)


def test_an_ordinary_finding_is_never_remediated_with_an_emergencys_list(zone: Zone) -> None:
    zone.node()
    loose = policy("loose", band="emergency", expires="2026-12-01T00:00:00Z", patches=[listed().to_json()])
    zone.policies = policy_set(loose)
    zone.say()
    assert zone.case().state is State.TICKETED and "only an emergency's own finding" in zone.case().because


def test_a_line_keeps_what_fits_of_the_cves_and_says_so(zone: Zone) -> None:
    """A kernel names hundreds of CVEs, and one item of the ledger holds 400 KB."""
    cves = ",".join(f"CVE-2026-{number:05}" for number in range(400))
    lacking = tuple(Patch(f"kernel-{number}", "", "Security", "Critical", "MISSING", cves) for number in range(60))
    zone.node(patch=scan(NOW - timedelta(hours=1), missing=60, patches=lacking))
    wants = {"path": "$.patch.missing[*].cves", "steps": None, "operator": "glob", "operand": "*CVE-2026-00399*",
             "match": "any", "if_missing": False, "line": None}  # fmt: skip
    zone.policies = policy_set(policy("named", wants))
    zone.say()
    assert zone.case().decision["policy"] == "named", "the decision sees all of it"
    kept = zone.ledger.trail(zone.case().id)[0].evidence["facts"]["patch"]
    assert kept["cves_cut_at"] == 200 and {len(one["cves"]) for one in kept["missing"]} == {200}


@pytest.mark.parametrize(("found", "state"), [((OLD,), State.WAITING), ((NEW,), State.RESOLVED)])
def test_a_scan_that_comes_late_is_held_against_the_names_too(
    zone: Zone, found: tuple[Patch, ...], state: State
) -> None:
    zone.managed(OLD)
    zone.begin()
    zone.round()
    zone.end(str(zone.emergency().execution), "Success")
    assert zone.emergency().state is State.VERIFYING
    zone.pass_minutes(20)
    zone.inventory.scan(NODE, scan(zone.clock.now(), missing=0, patches=found))
    sweep(zone.ports)
    assert zone.emergency().state is state


def test_a_sweep_that_knows_the_journal_but_not_the_set_opens_nothing_and_forgets_nothing(zone: Zone) -> None:
    zone.managed(OLD)
    one = Emergency(ID, (), (listed(),), Scope(), NOW, NOW + timedelta(days=3), "night", "now")
    emergency.begin(zone.ports, one)
    assert seek.find(zone.ports, HERE, one).opened == 0
    assert zone.ledger.head(remediation_id(NODE, Control.EMERGENCY)) is None
    zone.policies = policy_set(urgent())
    assert seek.find(zone.ports, HERE, one).opened == 1
