"""The site without a browser: what its pages say of a fleet, what they never do, and how they refuse."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest

from chalicelib.core.errors import PolicyError, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.journal import Kind, entry, subject_of
from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.pages import charts
from chalicelib.pages.site import HEADERS, MENU, PAGES, Answer, Desk, Visitor, act, show
from chalicelib.pages.views import brief, told
from chalicelib.ports import SWEPT, Change, Ports
from tests.sets import NODE, NOW, policy, policy_set
from tests.verbs.conftest import World

ME = Visitor("alex@example.com", may_act=True, token="t")
ROOT = __file__.rsplit("/tests/", 1)[0]


def data(ports: Ports, path: str, **query: str) -> dict[str, object]:
    answer = show(Desk(ports), f"{path}.json", query, ME)
    assert answer.status == 200, answer.body
    found: dict[str, object] = json.loads(answer.body)
    return found


def shown(ports: Ports, path: str, **query: str) -> str:
    answer = show(Desk(ports), path, query, ME)
    assert answer.status == 200, answer.body
    return answer.body


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_an_empty_ledger_has_pages_too(path: str) -> None:
    world = World()
    for form in ("", ".json", ".csv"):
        answer = show(Desk(world.ports), path + form, {}, ME)
        assert answer.status == 200 and answer.body, path
    assert "<table" not in shown(world.ports, "waiting") and "Nothing waits that fits." in shown(world.ports, "waiting")


def test_the_root_leads_to_the_overview_and_every_page_to_the_others() -> None:
    world = World()
    assert show(Desk(world.ports), "/", {}, ME) == Answer(303, "", headers={"Location": "overview"})
    for item in MENU:
        assert f'href="./{item.to}"' in shown(world.ports, "overview")
        assert f'href="../{item.to}"' in shown(world.ports, "audit/fleet")


# --- stale is not green ---------------------------------------------------------------------------------------------


def card(body: str, name: str) -> str:
    """The mood of a card."""
    before = body.partition(f'<span class="what">{name}</span>')[0]
    return before.rpartition('<li class="card ')[2].partition('"')[0]


def test_what_no_sweep_has_seen_is_not_green() -> None:
    world = World()
    body = shown(world.ports, "overview")
    assert card(body, "compliant") == "plain" and card(body, "last sweep") == "bad"
    assert "no sweep has ended yet" in body


def test_an_old_sweep_is_told_and_a_fresh_one_is_green() -> None:
    world = World()
    world.ledger.keep(SWEPT, {"at": "2026-11-23T11:50:00.000Z"}, expected=0)
    body = shown(world.ports, "overview")
    assert card(body, "compliant") == "good" and card(body, "last sweep") == "good" and "Nobody knows" not in body
    world.pass_minutes(60)
    body = shown(world.ports, "overview")
    assert card(body, "compliant") == "plain" and "the last sweep ended 2026-11-23 11:50 UTC" in body


def test_a_pause_a_refusing_account_and_policy_trouble_stand_first() -> None:
    class Lost:
        def active(self) -> PolicySet:
            raise PolicyError("the set is damaged")

        def trouble(self) -> str | None:
            return "the set is damaged"

    world = World()
    world.pause("the release is rolled back", by="morgan")
    world.pause("an audit", scope="account/111122223333")
    ports = replace(world.ports, policies=Lost())
    body = shown(ports, "overview")
    assert "PAUSED. Nothing starts, until somebody resumes: morgan: the release is rolled back" in body
    assert "PAUSED. Nothing of account 111122223333 starts" in body
    assert "no policy set loads: the set is damaged" in body
    assert "the set is damaged" in shown(ports, "policies")
    assert show(Desk(ports), "exemptions", {}, ME).status == 503


def test_a_guard_that_holds_is_told() -> None:
    world = World()
    subject = subject_of(Kind.GUARD, "surge")
    value = {"tripped": True, "since": "2026-11-23T11:00:00.000Z", "why": "40 % of the fleet turned at once"}
    world.ledger.enter(entry(None, subject, "tripped", because="it tripped", actor="patchwarden", now=NOW, value=value))
    body = shown(world.ports, "overview")
    assert "The guard surge holds since 2026-11-23 11:00 UTC: 40 % of the fleet turned at once" in body


# --- what waits, and who may say what -------------------------------------------------------------------------------


@pytest.fixture
def asking() -> World:
    made = World(policies=policy_set(policy("ask", action="approve")))
    made.node()
    made.say()
    return made


def said(world: World, say: str, because: str = "the board agreed", **more: str) -> Answer:
    form = {"token": "t", "say": say, "remediation": world.case().id, "because": because, **more}
    return act(Desk(world.ports), "act", form, ME)


def test_a_yes_leads_to_the_node_and_stands_in_the_trail(asking: World) -> None:
    assert said(asking, "approve").headers == {"Location": f"node/{NODE}"}
    assert asking.case().state == "queued" and asking.ledger.trail(asking.case().id)[-2].actor == "alex@example.com"


def test_what_waits_for_a_yes_follows_the_filters_too(asking: World) -> None:
    assert "Approve" in shown(asking.ports, "waiting", policy="ask", state="ticketed")
    for query in ({"policy": "another"}, {"state": "exempt"}, {"account": "444455556666"}):
        assert "Approve" not in shown(asking.ports, "waiting", **query)


def test_a_hold_takes_over_what_waits(asking: World) -> None:
    said(asking, "approve")
    assert said(asking, "hold", "not on this day").status == 303
    case = asking.case()
    assert (case.state, case.ticket is not None) == ("ticketed", True)
    assert case.because == "held by alex@example.com: not on this day"
    asking.pass_minutes(60)
    asking.say()
    asking.round()
    assert asking.case().state == "ticketed", "nothing takes it back by itself"


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"token": "other"}, 403, "You may look here, but not act."),
        ({"say": "delete"}, 404, "There is nothing to do here."),
        ({"remediation": "111122223333.eu-west-1.i-00000000000000bad.patch"}, 404, "There is no such remediation."),
        ({"because": "   "}, 409, "an approval needs a name and a reason"),
        ({"say": "hold"}, 409, "only what waits can be held"),
    ],
)
def test_an_act_that_does_not_count_writes_nothing(asking: World, form: dict[str, str], status: int, says: str) -> None:
    before = asking.case()
    answer = said(asking, **{"say": "approve", **form})
    assert answer.status == status and says in answer.body
    assert asking.case() == before


def test_who_only_looks_may_not_post(asking: World) -> None:
    before = asking.case()
    form = {"token": "", "say": "approve", "remediation": before.id, "because": "x"}
    assert act(Desk(asking.ports), "act", form, Visitor("a reader")).status == 403
    assert asking.case() == before


def test_a_ledger_that_does_not_answer_is_a_sentence(asking: World) -> None:
    class Busy:
        def __getattr__(self, name: str) -> object:
            raise Temporary("the table is throttled")

    ports = replace(asking.ports, ledger=Busy())  # type: ignore[arg-type]
    answer = show(Desk(ports), "overview", {}, ME)
    assert answer.status == 503 and "the table is throttled" in answer.body


# --- how it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("waiting", {"state": "resolved"}, 400, "the filter state is one of waiting, queued"),
        ("audit", {"since": "yesterday"}, 400, "the filter since is wrong"),
        ("audit", {"after": "x/y/z"}, 400, "is no cursor"),
        ("audit", {"at": "2026-11-01", "since": "2026-11-02"}, 400, "since is after at"),
        ("funnel", {"colour": "red"}, 400, "is no filter of this route"),
        ("audit/fleet", {"limit": "0"}, 400, "the filter limit is wrong"),
        ("exemptions", {"at": "2026-13-01"}, 400, "is no moment"),
        ("nowhere", {}, 404, "There is no such page."),
        ("node/111122223333/eu-west-1/i-00000000000000bad", {}, 404, "Nothing is recorded about"),
        ("node/../../etc/passwd", {}, 404, "There is no such page."),
    ],
)
def test_what_cannot_be_answered_is_told_in_each_form(path: str, query: dict[str, str], status: int, says: str) -> None:
    world = World()
    for form in ("", ".json", ".csv"):
        answer = show(Desk(world.ports), path + form, query, ME)
        assert answer.status == status and says in answer.body.replace("&#39;", "'"), (form, answer.body)
    assert json.loads(show(Desk(world.ports), f"{path}.json", query, ME).body)["status"] == status


def followed(desk: Desk, path: str, count: int) -> None:
    """The CSV is whole; where it is not, its last row says where the rest is, and following that leads to all."""
    whole = list(csv.reader(io.StringIO(show(desk, path, {}, ME).body)))[1:]
    assert len(whole) == count
    found, asked = list[list[str]](), {"limit": "150"}
    while True:
        answer = show(desk, path, asked, ME)
        rows = list(csv.reader(io.StringIO(answer.body)))[1:]
        if "Link" not in answer.headers:
            break
        says = rows.pop()[0]
        assert says.startswith("more rows follow: waiting.csv?") and says.split(": ")[1] in answer.headers["Link"]
        found += rows
        asked = dict(parse_qsl(says.partition("?")[2]))
    assert found + rows == whole


def test_a_large_fleet_is_paged_and_what_is_too_large_says_so() -> None:
    world = World()
    world.ledger.keep(SWEPT, {"at": "2026-11-23T11:59:00.000Z"}, expected=0)
    for number in range(2_100):
        case = Remediation(Node("111122223333", "eu-west-1", f"i-{number:017x}"), Control.PATCH)
        line = advance(case, Cause.TICKETED, because="why", now=NOW)
        world.ledger.append(Change(line, apply(case, line)))
    body = shown(world.ports, "waiting")
    assert body.count("<tr") == 51 and len(body) < 100_000 and 'rel="next"' in body
    seen, after = list[str](), None
    while True:
        asked = {"limit": "200", **({"after": after} if after else {})}
        page = json.loads(show(Desk(world.ports), "waiting.json", asked, ME).body)
        assert page["page"]["complete"] is (page["next"] is None) is (page["page"]["next"] is None)
        seen += [row["id"] for row in page["remediations"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len({*seen}) == 2_100
    followed(Desk(world.ports), "waiting.csv", 2_100)
    cut = json.loads(show(Desk(world.ports), "overview.json", {}, ME).body)["page"]
    assert cut["complete"] is False and "status.ticketed holds 20 of 2100" in cut["cut"][0]
    assert "Compliance over time is not drawn here" in shown(world.ports, "overview")
    answer = show(Desk(world.ports), "funnel", {}, ME)
    assert answer.status == 422 and "no daily export yet" in answer.body


# --- forms of the same ----------------------------------------------------------------------------------------------


def test_the_csv_holds_what_programs_read(asking: World) -> None:
    head, row = list(csv.reader(io.StringIO(show(Desk(asking.ports), "waiting.csv", {}, ME).body)))
    told_of = dict(zip(head, row, strict=True))
    assert told_of["node"] == NODE.id and told_of["next moment"] == "2026-11-30T12:00:00.000Z"


def test_a_page_is_the_same_from_equal_ledgers(asking: World) -> None:
    assert all(shown(asking.ports, page.path) == shown(asking.ports, page.path) for page in PAGES)


def test_a_node_is_found_by_its_id_and_near_ones_are_named(asking: World) -> None:
    def found(text: str) -> Answer:
        return show(Desk(asking.ports), "find", {"node": text}, ME)

    assert found(NODE.id).headers["Location"] == f"node/{NODE}"
    assert found("i-0123456789abcdef1").status == 404 and str(NODE) in found("i-0123456789abcdef1").body


def test_a_changed_line_is_told_on_the_page(asking: World) -> None:
    lines = asking.ledger._trails[asking.case().id]
    lines[0] = replace(lines[0], because="nothing to see")
    body = shown(asking.ports, f"node/{NODE}")
    assert "A line of this trail was changed" in body and card(body, "trail") == "bad"
    assert "nothing to see" in body and "i-0123456789abcdef0.patch" in shown(asking.ports, f"node/{NODE}", verify="1")


def test_a_policy_says_what_a_shadow_would_do() -> None:
    world = World(policies=policy_set(policy("real", action="ticket"), policy("tried", mode="shadow")))
    world.node()
    world.say()
    pairs = data(world.ports, "policies")["shadows"]
    assert pairs == [{"policy": "tried", "action": "remediate", "real_policy": "real", "real_action": "ticket",
                      "remediations": 1}]  # fmt: skip
    assert "Would decide 1 open remediations now." in shown(world.ports, "policies")
    assert "tried" not in str(data(world.ports, "policies", policy="real")["policies"])


def test_no_policy_lets_a_script_run() -> None:
    policy_of = HEADERS["Content-Security-Policy"]
    assert policy_of.startswith("default-src 'none'") and "unsafe" not in policy_of and "script-src" not in policy_of


# --- charts ---------------------------------------------------------------------------------------------------------


def drawn(svg: str) -> ElementTree.Element:
    """The drawing as XML: what a browser forgives, this does not."""
    return ElementTree.fromstring(svg[svg.index("<svg") : svg.index("</svg></div>") + 6])


SPACE = "{http://www.w3.org/2000/svg}"


def test_columns_are_as_high_as_their_figures() -> None:
    svg = charts.stacked(["a", "b"], [("one", "open", [1, 2]), ("two", "work", [3, 0])], title="x")
    bars = [item for item in drawn(svg).iter(f"{SPACE}rect") if item.find(f"{SPACE}title") is not None]
    high = {str(bar.findtext(f"{SPACE}title")): float(bar.attrib["height"]) for bar in bars}
    assert high.keys() == {"a: 1 one", "b: 2 one", "a: 3 two"}
    assert high["b: 2 one"] == pytest.approx(2 * high["a: 1 one"], abs=0.1)
    assert high["a: 3 two"] == pytest.approx(3 * high["a: 1 one"], abs=0.2)


def test_bars_lie_across_in_percent_so_that_none_is_cut_off_on_a_telephone() -> None:
    for svg in (charts.bars([("a", 100, "open"), ("b", 1, "open")], title="", line=200, unit=" h"),
                charts.funnel([("detected", 100), ("verified", 1)], title="")):  # fmt: skip
        assert "viewBox" not in drawn(svg).attrib
        for item in drawn(svg).iter():
            across = [item.attrib.get(name, "0") for name in ("x", "width", "x1", "x2")]
            assert all(value.endswith("%") and float(value[:-1]) <= 100 for value in across if value not in ("0", "88"))


def test_few_columns_need_no_scrolling_on_a_telephone() -> None:
    few, many = (charts.stacked(["over 30 d"] * count, [("late", "open", [1] * count)], title="") for count in (6, 15))
    assert drawn(few).attrib["viewBox"] == "0 0 400 220" and "drawing few" in few
    assert few.count(">over 30 d<") == 6, "each column says what it is"
    assert drawn(many).attrib["viewBox"] == "0 0 720 220" and "drawing few" not in many


def test_a_drawing_of_nothing_is_one_too() -> None:
    for svg in (charts.stacked([], [], title=""), charts.funnel([("a", 0)], title=""), charts.bars([], title="")):
        assert drawn(svg).tag == f"{SPACE}svg"


def test_a_name_in_a_drawing_stays_text() -> None:
    svg = charts.bars([("<b>&\"'\x00\u202e", 1, "open")], title='"><script>', line=2)
    assert [item.tag for item in drawn(svg)] == [f"{SPACE}text", f"{SPACE}rect", f"{SPACE}text", f"{SPACE}line"]
    assert drawn(svg).attrib["aria-label"] == '"><script>'


@pytest.mark.parametrize("value", [1, 3, 9, 10, 25, 60, 99, 100, 101, 999, 12_345, 1_000_000])
def test_the_scale_ends_at_a_figure_above_and_counts_in_whole_steps(value: int) -> None:
    top = charts._ceiling(value)
    assert value <= top <= max(2 * value, 4) and top % 4 == 0


def test_spans_and_moments_are_read_at_a_glance() -> None:
    assert [told(seconds) for seconds in (None, 0, 61, 3_720, 90_000)] == [
        "not known", "0 min 0 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]  # fmt: skip
    assert brief("2026-11-28T02:00:00.000Z") == "2026-11-28 02:00 UTC" and brief(None) == "not known"
    assert (counted(1, "node"), counted(2, "node")) == ("1 node", "2 nodes")


def test_a_handler_that_draws_no_page_does_not_load_what_draws() -> None:
    heavy = ("jinja2", "markupsafe", "chalicelib.pages.site")
    code = f"import app, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
