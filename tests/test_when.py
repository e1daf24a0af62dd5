"""A moment or a span is read the same by every command, and refused in the same sentence."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest
from click.testing import CliRunner

from chalicelib.core.moments import parse_moment
from patchwarden.cli import cli
from patchwarden.when import EXAMPLES, WHEN, read
from tests.walking import leaves

NOW = parse_moment("2026-11-25T03:04:05Z")
ABOUT_TIME = {"--since", "--until", "--for", "--at", "--now", "--expires", "--expiring"}


@pytest.mark.parametrize(
    ("text", "back", "ahead"),
    [
        ("90s", NOW - timedelta(seconds=90), NOW + timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15), NOW + timedelta(minutes=15)),
        ("2H", NOW - timedelta(hours=2), NOW + timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3), NOW + timedelta(days=3)),
        ("2w", NOW - timedelta(days=14), NOW + timedelta(days=14)),
        ("now", NOW, NOW),
        ("today", *2 * (parse_moment("2026-11-25T00:00:00Z"),)),
        ("Yesterday", *2 * (parse_moment("2026-11-24T00:00:00Z"),)),
        ("tomorrow", *2 * (parse_moment("2026-11-26T00:00:00Z"),)),
        ("2026-11-24", *2 * (parse_moment("2026-11-24T00:00:00Z"),)),
        ("2026-11-24T07:00:00+01:00", *2 * (parse_moment("2026-11-24T06:00:00Z"),)),
        ("2026-11-24t06:00:00z", *2 * (parse_moment("2026-11-24T06:00:00Z"),)),
    ],
)
def test_a_word_has_one_meaning(text: str, back: object, ahead: object) -> None:
    assert (read(text).before(NOW), read(text).around(NOW)) == (back, ahead)


def test_a_span_of_the_past_ends_where_the_question_ends() -> None:
    end = parse_moment("2026-06-30T00:00:00Z")
    assert read("7d").before(NOW, end) == end - timedelta(days=7)
    assert read("yesterday").before(NOW, end) == parse_moment("2026-11-24T00:00:00Z")


@pytest.mark.parametrize(
    "text", ["", "soon", "5 minutes", "-3d", "1.5h", "2026-11-31", "20261124", "2026-W48-2", "２h"]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is no moment and no span") as refused:
        read(text)
    assert str(refused.value).endswith(EXAMPLES)


def test_a_time_of_day_needs_its_zone() -> None:
    with pytest.raises(ValueError, match="is a moment without its zone: write"):
        read("2026-11-24T06:00")


def test_past_and_future_are_not_mixed_up() -> None:
    for text, way in (("tomorrow", "back"), ("yesterday", "ahead"), ("now", "ahead"), ("999999w", "back")):
        with pytest.raises(click.BadParameter, match=r"still to come|has passed|longer than the calendar"):
            getattr(read(text, "--since"), way)(NOW)


def test_every_option_about_time_is_read_by_the_same_parser() -> None:
    asked = [(path, command, option) for path, command in leaves() for option in command.params
             if ABOUT_TIME & set(option.opts)]  # fmt: skip
    assert len(asked) > 30
    assert [(path, option.opts) for path, _, option in asked if option.type is not WHEN] == []
    for path, _, option in asked:
        refused = CliRunner().invoke(cli, [*path, option.opts[0], "teatime"])
        said = f"Invalid value for {' / '.join(map(repr, option.opts))}: 'teatime' is no moment and no span: write"
        assert refused.exit_code == 2, path
        assert said in refused.stderr, (path, refused.stderr)
