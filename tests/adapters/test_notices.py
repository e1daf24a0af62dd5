"""A notice is one line that a machine reads and a person trusts: nothing hostile and nothing secret gets through."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.notices import METRICS, REDACTED, Collected, JsonNotices, Silent
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause
from chalicelib.ports import Notices

NOW = datetime(2026, 11, 23, 12, 0, 0, 250_000, UTC)


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a notice waits for nobody")


def written(what: str, /, **fields: Any) -> str:
    stream = io.StringIO()
    JsonNotices(Noon(), stream).say(what, **fields)
    return stream.getvalue()


def said(what: str, /, **fields: Any) -> dict[str, Any]:
    """The line as it is read back; it must be one line of printable ASCII."""
    text = written(what, **fields)
    assert text.endswith("\n")
    line = text[:-1]
    assert line.isascii()
    assert line.isprintable()
    read: dict[str, Any] = json.loads(line)
    return read


def fields(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = said("tried", **values)["fields"]
    return found


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for inner in item for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


# --- the line -------------------------------------------------------------------------------------------------------


def test_a_notice_is_one_line_of_time_level_name_and_sorted_fields() -> None:
    assert written("execution", batch="b-1", account="111122223333", members=3) == (
        '{"time": "2026-11-23T12:00:00.250Z", "level": "INFO", "what": "execution", '
        '"fields": {"account": "111122223333", "batch": "b-1", "members": 3}}\n'
    )


def test_what_somebody_should_look_at_is_a_warning() -> None:
    assert said("rejected", reason="the event has no detail", kind="malformed")["level"] == "WARN"
    assert said("execution")["level"] == "INFO"


def test_fields_may_have_any_name_without_touching_the_head() -> None:
    line = said("execution", time="never", level="none", what="else", fields={})
    assert (line["time"], line["level"], line["what"]) == ("2026-11-23T12:00:00.250Z", "INFO", "execution")
    assert line["fields"] == {"fields": {}, "level": "none", "time": "never", "what": "else"}


def test_it_goes_to_the_standard_output_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    notices = JsonNotices(Noon())
    notices.say("execution", batch="b-1")
    assert json.loads(capsys.readouterr().out)["fields"] == {"batch": "b-1"}


@dataclass(frozen=True)
class Odd:
    name: str = "odd\nvalue"
    inner: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (float("nan"), "(no number that JSON can hold)"),
        (float("-inf"), "(no number that JSON can hold)"),
        (10**400, "(no number that JSON can hold)"),
        (NOW, "2026-11-23T12:00:00.250Z"),
        (timedelta(hours=1), "1:00:00"),
        (Cause.RESOLVED, "resolved"),
        (Node("111122223333", "eu-west-1", "i-1a2b3c4d"), "111122223333/eu-west-1/i-1a2b3c4d"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        ({"b": 1, "a": [2, (3,)]}, {"a": [2, [3]], "b": 1}),
        ({2, 1}, [1, 2]),
        (b"\x00\xff", "b'\\x00\\xff'"),
        (Odd(), "Odd(name='odd\\nvalue', inner={})"),
        ([[[[[["deep"]]]]]], [[["(deeper)"]]]),
        ({1: "one", None: "none"}, {"1": "one", "None": "none"}),
    ],
)
def test_any_value_is_written_in_json_types(value: object, expected: object) -> None:
    assert fields(value=value) == {"value": expected}


def test_long_values_are_cut_and_say_how_long_they_were() -> None:
    assert fields(text="x" * 5_000)["text"] == "x" * 1_000 + "… (5000 characters)"
    assert fields(items=list(range(60)))["items"][-2:] == [49, "(10 more)"]
    assert len(fields(items={str(key): key for key in range(60)})["items"]) == 50


def test_a_line_of_many_long_values_is_shortened_and_still_one_line_of_json() -> None:
    many = {f"field_{number}": ["é" * 900] * 40 for number in range(40)}
    line = said("transition", cause=Cause.QUEUED, **many)
    assert line["shortened"] is True
    assert len(json.dumps(line)) < 32_000
    assert line["fields"]["cause"] == '"queued"'
    assert line["Transitions"] == 1


def test_a_value_that_holds_itself_ends() -> None:
    itself: list[Any] = []
    itself.append(itself)
    assert fields(itself=itself) == {"itself": [[["(deeper)"]]]}


# --- hostile text ---------------------------------------------------------------------------------------------------

HOSTILE = [
    'web-1\n{"time": "2026-11-23T12:00:00Z", "level": "INFO", "what": "resolved"}',
    "web-1\r\nresolved",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "\x00\x08\x7f",
    "admin\u202egnp.exe",
    "line\u2028separator\u2029",
    "\u200binvisible\ufeff",
    "lone \ud800 surrogate",
    "</script><script>alert(1)</script>",
    '"}],"level":"ERROR',
    "=HYPERLINK(1)",
    "é ü 漢字 🚒",
    "%s %(name)s {0} {time}",
    "\\u000a \\n",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"value": text},
        lambda text: {"value": {"inner": [text]}},
        lambda text: {"value": {text: 1}},
        lambda text: {text: 1},
        lambda text: {"value": ValueError(text)},
    ],
    ids=["value", "nested", "inner-key", "key", "error"],
)
def test_no_text_breaks_the_line_or_reaches_the_terminal(text: str, place: Callable[[str], dict[str, Any]]) -> None:
    line = said("tried", **place(text))
    assert line.keys() == {"time", "level", "what", "fields"}
    assert all(found.isprintable() for found in texts(line))


def test_what_can_be_read_stays_readable() -> None:
    assert fields(text="é ü 漢字 🚒")["text"] == "é ü 漢字 🚒"
    assert fields(text="first\r\nsecond\tthird")["text"] == "first  second third"


@given(st.text(), st.dictionaries(st.text(max_size=5), st.recursive(st.text() | st.floats(), st.lists, max_leaves=5)))
def test_whatever_is_said_is_one_line_of_printable_json(what: str, values: dict[str, Any]) -> None:
    line = said(what, **values)
    assert all(text.isprintable() for text in texts(line))


# --- secrets --------------------------------------------------------------------------------------------------------

CANARY = "k4naryQ9x7ZpT2"
KEY_ID = "AKIA" + "CANARY0123456789"
SESSION = "IQoJb3JpZ2lu" + "X2VjEKn" + "9Zk4" * 20

SECRET_FIELDS = [
    "password",
    "Password",
    "db_passwd",
    "token",
    "SessionToken",
    "X-Amz-Security-Token",
    "secret",
    "SecretAccessKey",
    "aws_secret_access_key",
    "AccessKeyId",
    "authorization",
    "Authorization",
    "apiKey",
    "api-key",
    "credentials",
    "Set-Cookie",
    "private_key",
]


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_a_field_with_the_name_of_a_secret_is_not_written(name: str) -> None:
    assert CANARY not in written("tried", **{name: CANARY})
    assert CANARY not in written("tried", value={"inner": [{name: {"deep": CANARY}}]})
    assert CANARY not in written("transition", **{name: [CANARY]})
    assert fields(**{name: CANARY}) == {name: REDACTED}


SECRET_TEXTS = [
    f"password={CANARY}",
    f"password: {CANARY}",
    f'{{"password": "{CANARY}"}}',
    f"{{'SessionToken': '{CANARY}'}}",
    '{\\"secret\\": \\"' + CANARY + '\\"}',
    f"aws_secret_access_key = {CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"Authorization: Basic {CANARY}==",
    f"authorization=Bearer {CANARY}",
    f"the header was bearer {CANARY}",
    f"Authorization: AWS4-HMAC-SHA256 Credential={CANARY}/20261123/eu-west-1/ssm/aws4_request, Signature={CANARY}",
    f"GET /?X-Amz-Security-Token={CANARY}&X-Amz-Signature={CANARY}&X-Amz-Date=20261123",
    f"https://robot:{CANARY}@jira.example.com/rest",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    f"x-api-key: {CANARY}",
    f"SecretString={CANARY}",
    f"Cookie: session={CANARY}",
    "x" * 990 + f" password={CANARY}",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_a_secret_inside_a_text_is_taken_out(text: str) -> None:
    for line in (
        written("tried", because=text),
        written("tried", because=ValueError(text)),
        written("rejected", reason=text, kind=text),
        written("tried", inner={"list": [text]}),
        written("tried", **{text: 1}),
        written(text),
    ):
        assert CANARY[:6] not in line


@pytest.mark.parametrize("shape", [KEY_ID, KEY_ID.replace("AKIA", "ASIA"), SESSION])
@pytest.mark.parametrize("around", ["{}", "called with {} by web-1", "x{}", "key={},", '{{"id":"{}"}}'])
def test_the_shapes_of_aws_keys_are_taken_out_wherever_they_stand(shape: str, around: str) -> None:
    line = written("tried", because=around.format(shape))
    assert shape[-12:] not in line
    assert REDACTED in line


def test_what_only_sounds_secret_stays() -> None:
    text = "the baseline asks for a token, the password policy is not met, AKIA is a prefix, bearer"
    assert fields(because=text) == {"because": text}


def test_redaction_of_a_megabyte_takes_no_longer_than_reading_it() -> None:
    """Each pattern is linear: were one quadratic, this test would not end."""
    for text in ("password" * 125_000, "a-" * 500_000, "authorization=" * 70_000, "://a:" * 200_000, "AKIA" * 250_000):
        assert len(written("tried", because=text)) < 2_000


# --- counts ---------------------------------------------------------------------------------------------------------


def check_embedded_metric(line: dict[str, Any]) -> None:
    """The rules of CloudWatch's embedded metric format that make it drop a line in silence."""
    about = line["_aws"]
    assert about["Timestamp"] == int(NOW.timestamp() * 1000)
    (directive,) = about["CloudWatchMetrics"]
    assert re.fullmatch(r"[A-Za-z0-9._/#:-]{1,256}", directive["Namespace"])
    for dimensions in directive["Dimensions"]:
        assert all(isinstance(line[name], str) and 1 <= len(line[name]) <= 1024 for name in dimensions)
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int)
        assert metric["Unit"] == "Count"


def test_a_rejected_event_is_counted_by_its_kind() -> None:
    line = said("rejected", reason="the event has no detail", kind="malformed")
    check_embedded_metric(line)
    assert (line["Rejected"], line["kind"]) == (1, "malformed")
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["kind"]]


@pytest.mark.parametrize("cause", list(Cause))
def test_a_transition_is_counted_by_its_cause(cause: Cause) -> None:
    line = said("transition", cause=cause, remediation="r-1")
    check_embedded_metric(line)
    assert (line["Transitions"], line["cause"]) == (1, cause.value)


@pytest.mark.parametrize(
    ("what", "metric", "split"),
    [("policies_refused", "PoliciesRefused", "decides"), ("no_policies", "NoPolicies", "decides")],
)
def test_trouble_with_the_policies_is_counted_and_told_as_a_warning(what: str, metric: str, split: str) -> None:
    line = said(what, because="it does not load", **{split: "kept"})
    check_embedded_metric(line)
    assert (line["level"], line[metric], line[split]) == ("WARN", 1, "kept")


@pytest.mark.parametrize("kind", ["", None, "x" * 2_000, "Any Text", "two\nlines", {"a": 1}, 5.5])
def test_nobody_s_text_becomes_a_metric_of_its_own(kind: object) -> None:
    line = said("rejected", kind=kind)
    check_embedded_metric(line)
    assert line["kind"] == "other"


def test_nothing_else_is_counted() -> None:
    assert METRICS.keys() == {"rejected", "transition", "policies_refused", "no_policies"}
    assert "_aws" not in said("execution", batch="b-1")


# --- one contract for all three -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Collected, Silent, lambda: JsonNotices(Noon(), io.StringIO())])
def test_every_notices_takes_what_the_port_takes(make: Callable[[], Notices]) -> None:
    notices = make()
    notices.say("execution")
    notices.say("execution", what="also a field", batch=None, members=[1, 2])


def test_the_twin_keeps_what_was_said_in_order() -> None:
    notices = Collected()
    notices.say("execution", batch="b-1")
    notices.say("rejected", kind="forged")
    notices.say("execution", batch="b-2")
    assert notices.said == [
        ("execution", {"batch": "b-1"}),
        ("rejected", {"kind": "forged"}),
        ("execution", {"batch": "b-2"}),
    ]
    assert notices.of("execution") == [{"batch": "b-1"}, {"batch": "b-2"}]
