"""Service: what was done to the service itself, and what its guards and rollouts hold."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.publications import Publication
from chalicelib.core.waves import Count, Progress
from chalicelib.ports import Ledger


def guards(ledger: Ledger, *, every: bool = False) -> list[dict[str, Any]]:
    """What each guard that tripped holds and why; with `every`, those that were released too."""
    lines = [line for line in ledger.subjects(Kind.GUARD) if every or line.value.get("tripped")]
    return [
        {"guard": line.name, "holds": bool(line.value.get("tripped")), "since": line.value.get("since"),
         "changed": format_moment(line.at), "what": line.what, "ticket": line.value.get("ticket"),
         "canaries": list(line.value.get("canaries", ())), "because": line.value.get("why") or line.because}
        for line in lines
    ]  # fmt: skip


POLICIES = "policies"
"""The kind of the lines about policy sets, which are kept beside the journal."""


def journal(
    ledger: Ledger, *, kind: str | None = None, subject: str | None = None, actor: str | None = None,
    since: datetime | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Everything done to the service itself, oldest first: the journal's entries and the publications.

    Each as `{at, subject, number, what, actor, because, value, hash}`; `subject` and `actor` are parts, in any case.
    """
    kinds = [one for one in Kind if kind in (None, one)]
    entries = [line for one in kinds for newest in ledger.subjects(one) for line in ledger.entries(newest.subject)]
    lines = [{name: value for name, value in line.to_json().items() if name != "previous"} for line in entries]
    if kind in (None, POLICIES):
        lines += [_published(line) for line in ledger.publications()]
    begin = format_moment(since) if since else ""
    return sorted(
        (line for line in lines if line["at"] >= begin and _holds(line["subject"], subject)
         and _holds(line["actor"], actor)),
        key=lambda line: (line["at"], line["subject"], line["number"]),
    )  # fmt: skip


def _published(line: Publication) -> dict[str, Any]:
    value = {"digest": line.digest, "revision": line.revision, "summary": dict(line.summary)}
    return {"at": format_moment(line.at), "subject": f"{POLICIES}/{line.digest[:12]}", "number": line.number,
            "what": line.act.value, "actor": line.by, "because": line.because, "value": value,
            "hash": line.hash}  # fmt: skip


def _holds(text: str, part: str | None) -> bool:
    return part is None or part.lower() in text.lower()


def rollouts(ledger: Ledger) -> list[dict[str, Any]]:
    """Where each rollout stands: its open wave, how that fares, and what it waits for."""
    return [_rollout(ledger, line) for line in ledger.subjects(Kind.ROLLOUT)]


def _rollout(ledger: Ledger, line: Entry) -> dict[str, Any]:
    progress = Progress.from_json(line.value)
    kept = ledger.kept(line.subject)
    count = Count.of(kept.value if kept else None, progress)
    stands = (
        "superseded" if line.what == "superseded"
        else "stopped" if progress.stopped
        else "finished" if progress.wave + 1 >= progress.waves
        else "soaking" if progress.done
        else "open"
    )  # fmt: skip
    return {"rollout": line.name, "policy": progress.policy, "number": progress.number, "stands": stands,
            "wave": progress.wave + 1, "waves": progress.waves, "begun": format_moment(progress.begun),
            "verified": count.verified, "failed": count.failed, "in_work": len(count.open),
            "ticket": line.value.get("ticket"), "because": progress.stopped or line.because}  # fmt: skip
