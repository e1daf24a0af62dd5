"""A policy that asks: whose yes counts, how many it takes, and what becomes of silence, a no and a changed policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import lookup
from chalicelib.approve import approve, reject
from chalicelib.core.approvals import standing
from chalicelib.core.errors import PolicyError, Temporary
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.intake import Receipt, request
from tests.sets import NODE, NOW, policy, policy_set, tag
from tests.verbs.conftest import Broken, World

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.org"


def asking(*, window: str | None = None, **approval: Any) -> dict[str, Any]:
    rule = {"by": ["*@example.com"], "minimum": 1, "within": 3 * 86400, "on_timeout": "ticket", **approval}
    return policy("ask", action="approve", approval=rule, window=window)


@pytest.fixture
def asked(world: World) -> World:
    """A node whose policy wants the yes of two people of example.com within three days."""
    world.policies = policy_set(asking(minimum=2))
    world.node()
    world.say()
    return world


def yes(world: World, by: str, because: str = "the change board agreed") -> Receipt:
    return approve(world.ports, world.case().id, by=by, because=because)


def test_it_waits_as_a_ticket_that_names_the_moment_until_which_it_asks(asked: World) -> None:
    case = asked.case()
    assert case.state == "ticketed" and case.ticket
    assert case.because == "ask: the policy ask: waits for an approval until 2026-11-26T12:00:00.000Z, has 0 of 2"
    assert format_moment(case.due or NOW) == "2026-11-26T12:00:00.000Z"


def test_with_the_last_yes_it_is_queued_and_both_names_stand_in_the_trail(asked: World) -> None:
    assert yes(asked, ANN).status == "noted"
    assert asked.case().state == "ticketed"
    answer = yes(asked, BOB)
    assert (answer.status, answer.state) == ("decided", "queued")
    assert [one["by"] for one in asked.case().decision["approvals"]] == [ANN, BOB]
    said = [line for line in asked.ledger.trail(asked.case().id) if "approval" in line.evidence]
    assert [line.actor for line in said] == [ANN, BOB]
    assert said[0].because == "approved by ann@example.com (1 of 2): the change board agreed"


def test_what_was_approved_starts_and_is_proved_like_anything_else(asked: World) -> None:
    yes(asked, ANN)
    yes(asked, BOB)
    asked.pass_minutes(5)
    asked.round()
    asked.scanned()
    asked.end(str(asked.case().execution))
    assert asked.case().state == "resolved"
    assert "resolved" in asked.causes()


@pytest.mark.parametrize("retried", [True, False], ids=["said-again", "next-round"])
def test_a_last_yes_that_broke_off_is_not_lost(world: World, retried: bool) -> None:
    world.policies = policy_set(policy("ask", tag("Environment", "dev"), action="approve",
                                       approval=asking()["then"]["approval"]))  # fmt: skip
    world.node()
    world.say()
    busy = replace(world.ports, inventory=Broken(world.inventory, "nodes", Temporary("throttled")))
    with pytest.raises(Temporary):
        approve(busy, world.case().id, by=ANN, because="the change board agreed")
    assert world.case().state == "ticketed"
    if retried:
        assert (yes(world, ANN).status, world.case().state) == ("decided", "queued")
    else:
        world.round()
        assert world.case().state in ("queued", "running")


def test_one_persons_yes_counts_once(asked: World) -> None:
    yes(asked, ANN)
    assert yes(asked, ANN).status == "duplicate"
    assert asked.case().state == "ticketed"


@pytest.mark.parametrize(
    ("by", "because", "sentence"),
    [
        (EVE, "let it in", "eve@example.org is not among the approvers of ask: *@example.com"),
        ("", "why not", "an approval needs a name and a reason"),
        (ANN, "  ", "an approval needs a name and a reason"),
    ],
)
def test_a_yes_that_does_not_count_writes_nothing(asked: World, by: str, because: str, sentence: str) -> None:
    before = asked.case()
    answer = yes(asked, by, because)
    assert answer.status == "refused" and answer.because.startswith(sentence)
    assert asked.case() == before


def test_who_asked_for_it_cannot_approve_it(asked: World) -> None:
    asked.pass_minutes(1)
    request(asked.ports, {"ResourceId": NODE.id, "AccountId": NODE.account, "Region": NODE.region, "RequestedBy": ANN})
    answer = yes(asked, ANN)
    assert (answer.status, answer.because) == ("refused", "ann@example.com asked for it: somebody else must approve it")
    assert yes(asked, BOB).status == "noted"


def ask(world: World, by: str | None) -> Receipt:
    """A request for the node, by somebody or by nobody named."""
    named = {} if by is None else {"RequestedBy": by}
    return request(world.ports, {"ResourceId": NODE.id, "AccountId": NODE.account, "Region": NODE.region, **named})


def test_who_asked_first_of_all_cannot_approve_it_either(world: World) -> None:
    world.policies = policy_set(asking())
    world.node()
    ask(world, ANN)
    assert world.case().first_seen == NOW, "the clock of the case begins with the request"
    world.pass_minutes(10)
    world.say()
    assert world.case().first_seen == NOW, "and what is said later does not move it"
    assert yes(world, ANN).because == "ann@example.com asked for it: somebody else must approve it"
    assert yes(world, BOB).status == "decided"


def test_who_asked_is_known_of_a_case_whose_first_finding_came_from_a_fast_clock(world: World) -> None:
    world.policies = policy_set(asking())
    world.node()
    world.say(at=NOW + timedelta(minutes=30))
    world.pass_minutes(1)
    ask(world, ANN)
    assert yes(world, ANN).status == "refused"


def test_a_request_alone_starts_the_clock_of_the_deadline(world: World) -> None:
    world.policies = policy_set(policy("late", window="saturday", deadline=7 * 86400))
    world.node()
    ask(world, ANN)
    began = world.case().decision["deadline"]
    world.pass_minutes(60)
    world.policies = policy_set(policy("late", title="said in other words", window="saturday", deadline=7 * 86400))
    ask(world, BOB)
    assert world.case().decision["deadline"] == began == format_moment(NOW + timedelta(days=7))


SSO = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_SecurityPowerUsers_0123456789abcdef"
ROLE = "arn:aws:sts::111122223333:assumed-role/Approvers"


def test_who_asked_under_a_long_name_is_known_by_all_of_it(world: World) -> None:
    world.policies = policy_set(asking(by=["*"]))
    world.node()
    world.say()
    world.pass_minutes(1)
    long, other = (f"{SSO}/{name}.musterfrau@subsidiary.example.com" for name in ("maximiliana", "maximiliane"))
    ask(world, long)
    assert world.ledger.trail(world.case().id)[-1].evidence["requested_by"] == long and len(long) > 128
    assert yes(world, long).because.endswith("asked for it: somebody else must approve it")
    assert yes(world, other).status == "decided"


def test_sessions_of_one_role_are_one_person(world: World) -> None:
    world.policies = policy_set(asking(by=[f"{ROLE}/*"], minimum=2))
    world.node()
    world.say()
    assert yes(world, f"{ROLE}/ann").status == "noted"
    answer = yes(world, f"{ROLE}/ann2")
    assert (answer.status, answer.because) == ("duplicate", f"{ROLE} has approved it already")
    assert world.case().state == "ticketed"
    world.pass_minutes(1)
    ask(world, f"{ROLE}/bob")
    assert yes(world, f"{ROLE}/eve").status == "refused", "nor does a role approve what it asked for"


def test_users_of_identity_center_are_people_in_one_role(world: World) -> None:
    world.policies = policy_set(asking(by=[f"{SSO}/*"], minimum=2))
    world.node()
    world.say()
    assert yes(world, f"{SSO}/{ANN}").status == "noted"
    assert yes(world, f"{SSO}/{ANN}").status == "duplicate"
    assert yes(world, f"{SSO}/{BOB}").status == "decided"


OTHER_SSO = "arn:aws:sts::444455556666:assumed-role/AWSReservedSSO_Admins_fedcba9876543210"


def test_a_user_of_identity_center_is_one_person_in_all_roles_and_accounts(world: World) -> None:
    """IAM Identity Center writes the name, and one user may have several permission sets in several accounts."""
    world.policies = policy_set(asking(by=["*AWSReservedSSO_*"], minimum=2))
    world.node()
    world.say()
    assert yes(world, f"{SSO}/{ANN}").status == "noted"
    assert yes(world, f"{OTHER_SSO}/{ANN}").status == "duplicate"
    world.pass_minutes(1)
    ask(world, f"{OTHER_SSO}/{BOB}")
    assert yes(world, f"{SSO}/{BOB}").status == "refused", "nor does she approve what she asked for in another role"
    assert yes(world, f"{SSO}/{EVE}").status == "decided"


@pytest.mark.parametrize(("glob", "who", "counts"), [
    ("*@example.com", f"{ROLE}/{ANN}", False),
    ("*/ann@example.com", f"{ROLE}/{ANN}", False),
    (f"{ROLE}/{ANN}", f"{ROLE}/{ANN}", False),
    ("*@example.com", f"arn:aws:sts::111122223333:federated-user/{ANN}", False),
    ("*", f"{ROLE}/{ANN}", True),
    (f"{ROLE}/*", f"{ROLE}/{ANN}", True),
    ("arn:aws:sts::*:assumed-role/App*", f"{ROLE}/{ANN}", True),
    ("arn:aws:sts::111122223333:federated-user/*", f"arn:aws:sts::111122223333:federated-user/{ANN}", True),
    ("*@example.com", f"{SSO}/{ANN}", True),
    (f"*/{ANN}", f"{SSO}/{ANN}", True),
    (f"*/{ANN}", f"arn:aws:iam::111122223333:user/{ANN}", True),
    ("*@example.com", ANN, True),
])  # fmt: skip
def test_no_glob_fits_a_name_that_its_bearer_chose(world: World, glob: str, who: str, counts: bool) -> None:
    """Whoever assumes a role names the session: by that name alone nobody becomes an approver."""
    world.policies = policy_set(asking(by=[glob]))
    world.node()
    world.say()
    assert yes(world, who).status == ("decided" if counts else "refused")


def test_a_yes_or_a_no_after_the_moment_comes_too_late(asked: World) -> None:
    """No round has come by yet; the time itself has answered."""
    yes(asked, ANN)
    asked.pass_minutes(3 * 24 * 60)
    answer = yes(asked, BOB)
    assert (answer.status, answer.state) == ("refused", "ticketed")
    assert answer.because == "it asked until 2026-11-26T12:00:00.000Z, and that has passed: request it anew"
    assert asked.case().because.startswith("ask: 1 of 2 approvals came until") and not asked.case().execution
    assert reject(asked.ports, asked.case().id, by=BOB, because="no").status == "refused"


def test_a_last_yes_in_time_counts_though_it_was_decided_later(world: World) -> None:
    world.policies = policy_set(policy("ask", tag("Environment", "dev"), action="approve",
                                       approval=asking()["then"]["approval"]))  # fmt: skip
    world.node()
    world.say()
    world.pass_minutes(3 * 24 * 60 - 1)
    busy = replace(world.ports, inventory=Broken(world.inventory, "nodes", Temporary("throttled")))
    with pytest.raises(Temporary):
        approve(busy, world.case().id, by=ANN, because="the change board agreed")
    world.pass_minutes(5)
    assert yes(world, ANN).status == "decided" and world.case().state == "queued"


def test_what_asks_is_listed_where_no_policy_set_loads(asked: World) -> None:
    broken = replace(asked.ports, policies=Unread())
    (one,) = lookup.approvals(broken)["approvals"]
    assert (one["node"], one["title"], one["minimum"]) == (NODE.id, None, None)
    assert "no policy set loads" in approve(broken, asked.case().id, by=ANN, because="x").because


class Unread:
    """A policy store whose set does not load."""

    def active(self) -> PolicySet:
        raise PolicyError("its digest is wrong")

    def trouble(self) -> str | None:
        return "its digest is wrong"


def test_two_yes_of_one_role_that_were_recorded_count_once() -> None:
    said = [{"by": f"{ROLE}/{name}", "at": "", "because": "", "policy_digest": "d"} for name in ("ann", "ann2")]
    assert standing({"approvals": said}, "d") == said[:1]


def test_a_request_without_a_name_asks_nothing_again_that_was_answered(asked: World) -> None:
    reject(asked.ports, asked.case().id, by=BOB, because="the vendor warns of it")
    asked.pass_minutes(1)
    for nobody in (None, " ", "somebody"):
        assert ask(asked, nobody).status in ("noted", "duplicate")
        assert asked.case().decision["action"] == "ticket"
    asked.pass_minutes(1)
    ask(asked, EVE)
    assert asked.case().decision["action"] == "approve", "with a name it asks anew"


def test_a_request_without_a_name_asks_where_nobody_has_asked(world: World) -> None:
    world.policies = policy_set(asking())
    world.node()
    assert ask(world, None).state == "ticketed" and world.case().decision["action"] == "approve"


def test_a_no_ends_the_question_and_stays_a_persons_turn(asked: World) -> None:
    answer = reject(asked.ports, asked.case().id, by=BOB, because="the vendor warns of it")
    assert (answer.status, answer.state) == ("decided", "ticketed")
    assert asked.case().because == "ask: rejected by bob@example.com: the vendor warns of it"
    assert yes(asked, ANN).because.startswith("nothing asks for an approval: it is ticketed")
    asked.pass_minutes(10)
    asked.say()
    asked.pass_minutes(60 * 24 * 4)
    asked.round()
    assert asked.case().decision["action"] == "ticket" and not asked.case().execution


@pytest.mark.parametrize(("on_timeout", "state"), [("ticket", "ticketed"), ("observe", "open")])
def test_silence_has_its_outcome(world: World, on_timeout: str, state: str) -> None:
    world.policies = policy_set(asking(minimum=2, on_timeout=on_timeout))
    world.node()
    world.say()
    yes(world, ANN)
    world.pass_minutes(3 * 24 * 60 - 2)
    world.round()
    assert lookup.approvals(world.ports)["approvals"]
    world.pass_minutes(3)
    world.round()
    assert world.case().state == state
    assert world.case().because.startswith("ask: 1 of 2 approvals came until 2026-11-26T12:00:00.000Z")
    assert lookup.approvals(world.ports)["approvals"] == []
    assert yes(world, BOB).status == "refused"


def test_asking_again_does_not_move_the_moment_until_which_it_asks(asked: World) -> None:
    asked.pass_minutes(600)
    asked.say()
    assert format_moment(asked.case().due or NOW) == "2026-11-26T12:00:00.000Z"


def test_a_policy_that_was_changed_asks_anew(asked: World) -> None:
    yes(asked, ANN)
    asked.policies = policy_set(asking(minimum=2, within=86400))
    answer = yes(asked, BOB)
    assert answer.status == "refused" and "the policy has changed since it asked" in answer.because
    assert yes(asked, BOB).status == "noted", "the first yes was said to another policy"


def test_a_policy_that_asks_no_more_lets_it_go(asked: World) -> None:
    asked.policies = policy_set(policy("ask"))
    asked.pass_minutes(3 * 24 * 60 + 1)
    asked.round()
    assert asked.case().state in ("queued", "starting", "running")


def test_a_case_that_no_policy_speaks_for_any_more_asks_no_more(asked: World) -> None:
    asked.policies = policy_set(policy("other", tag("Environment", "prod")))
    asked.pass_minutes(3 * 24 * 60 + 1)
    for _ in range(3):
        asked.round()
        asked.pass_minutes(1)
    assert asked.case().state == "open" and asked.case().due is None
    assert asked.causes() == ["ticketed", "noted", "observed"], "one line, not one for each round"


def test_an_approved_case_still_waits_for_its_window_and_keeps_its_approval(world: World) -> None:
    world.policies = policy_set(asking(window="saturday", within=30 * 86400))
    world.node()
    world.say()
    answer = yes(world, ANN)
    assert (answer.state, answer.due) == ("waiting", "2026-11-28T02:00:00.000Z")
    world.clock.move(timedelta(days=4, hours=14, minutes=1))
    world.round()
    assert world.case().state == "running"


def test_a_new_episode_asks_anew(asked: World) -> None:
    yes(asked, ANN)
    yes(asked, BOB)
    asked.pass_minutes(5)
    asked.round()
    asked.scanned()
    asked.end(str(asked.case().execution))
    asked.pass_minutes(60)
    asked.node()
    asked.scanned(missing=1)
    asked.say()
    assert asked.case().state == "ticketed" and asked.case().decision["approvals"] == []


def test_what_waits_for_a_yes_is_listed_with_what_it_still_needs(asked: World) -> None:
    yes(asked, ANN)
    (one,) = lookup.approvals(asked.ports)["approvals"]
    assert (one["node"], one["policy"], one["minimum"], one["by"]) == (NODE.id, "ask", 2, ["*@example.com"])
    assert [(said["by"], said["because"]) for said in one["given"]] == [(ANN, "the change board agreed")]
    assert one["until"] == "2026-11-26T12:00:00.000Z"


def test_nothing_is_approved_where_nothing_asks(world: World) -> None:
    world.node()
    world.say()
    assert yes(world, ANN).because.startswith("nothing asks for an approval: it is queued")
    nowhere = approve(world.ports, "111122223333.eu-west-1.i-0.patch", by=ANN, because="x")
    assert (nowhere.status, nowhere.because) == ("refused", "no such remediation")
