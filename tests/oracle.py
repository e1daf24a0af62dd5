"""The past told a second time, straight from exported lines and with nothing of the service: what its figures must be.

It knows JSON, sorting and counting. Moments are text, which sorts as time does.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

Line = dict[str, Any]
DECIDES = {"observed", "deferred", "queued", "ticketed", "exempted"}
REACHED = ("detected", "decided", "started", "succeeded", "verified")


def exported(folder: Path) -> list[Line]:
    """Every line of an export."""
    files = sorted(folder.glob("trail/day=*/account=*/lines.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def known(lines: Iterable[Line], at: str) -> dict[str, list[Line]]:
    """What of each trail had been written at that moment, by id, in its order."""
    trails = defaultdict[str, list[Line]](list)
    for line in sorted(lines, key=lambda line: (line["remediation"], line["number"])):
        if line["at"] <= at:
            trails[line["remediation"]].append(line)
    return dict(trails)


def _last(trail: list[Line], field: str) -> Any:
    """The newest decision's word for it."""
    made = [line["sets"]["decision"] for line in trail if line["sets"].get("decision") is not None]
    return made[-1].get(field) if made else None


def passes(trail: list[Line], where: dict[str, str]) -> bool:
    account, region, node, _ = trail[0]["remediation"].split(".")
    tags = [told for line in trail if (told := line["evidence"].get("facts", {}).get("node", {}).get("tags"))]
    said = {"account": account, "region": region, "node": node, "state": trail[-1]["after"],
            **{name: str(_last(trail, name)) for name in ("policy", "severity", "action")},
            "tag": f"Team={tags[-1].get('Team')}" if tags else None}  # fmt: skip
    return all(said[name] == value for name, value in where.items())


def fleet(lines: Iterable[Line], at: str, where: dict[str, str]) -> dict[str, Any]:
    there = {id: trail for id, trail in known(lines, at).items() if passes(trail, where)}
    moved = {id: [line["at"] for line in trail if line["before"] != line["after"] or line["number"] == 1][-1]
             for id, trail in there.items()}  # fmt: skip
    return {"states": dict(sorted(Counter(trail[-1]["after"] for trail in there.values()).items())),
            "total": len(there),
            "remediations": [(id, trail[-1]["after"], trail[-1]["number"], trail[-1]["hash"], moved[id],
                              _last(trail, "policy")) for id, trail in sorted(there.items())]}  # fmt: skip


def diff(lines: list[Line], since: str, at: str, where: dict[str, str]) -> list[tuple[str, str | None, str]]:
    before, after = known(lines, since), known(lines, at)
    states = {id: (before[id][-1]["after"] if id in before else None, trail[-1]["after"])
              for id, trail in sorted(after.items()) if passes(trail, where)}  # fmt: skip
    return [(id, was, became) for id, (was, became) in states.items() if was != became]


def episodes(lines: Iterable[Line], at: str, where: dict[str, str]) -> list[dict[str, Any]]:
    """Each episode with its moments, its state by then and its deadline."""
    found = list[dict[str, Any]]()
    for trail in known(lines, at).values():
        parts = defaultdict[int, list[Line]](list)
        number = 0
        for line in trail:
            number = line["sets"].get("episode", number)
            parts[number].append(line)
        found += [_episode(part) for part in parts.values()] if passes(trail, where) else []
    return found


def _episode(part: list[Line]) -> dict[str, Any]:
    def first(*causes: str) -> str | None:
        return next((line["at"] for line in part if line["cause"] in causes), None)

    seen = [line["sets"]["first_seen"] for line in part if line["sets"].get("first_seen")]
    named = [made for line in part if (made := line["sets"].get("decision"))]
    deadlines = [made["deadline"] for made in named if made.get("deadline")]
    return {"detected": seen[-1] if seen else part[0]["at"], "decided": first(*DECIDES), "started": first("started"),
            "succeeded": first("succeeded"), "verified": first("resolved"), "state": part[-1]["after"],
            "deadline": deadlines[-1] if deadlines else None}  # fmt: skip


def funnel(found: Iterable[dict[str, Any]], since: str, at: str) -> dict[str, int]:
    counts = Counter[str]()
    for one in found:
        if since <= one["detected"] <= at:
            started = one["decided"] and one["started"]
            far = ("verified" if one["verified"] else "succeeded" if one["succeeded"] else "started") if started else \
                "decided" if one["decided"] else "detected"  # fmt: skip
            counts.update(REACHED[: REACHED.index(far) + 1])
    return {stage: counts[stage] for stage in REACHED}


def durations(found: Iterable[dict[str, Any]], since: str, at: str) -> dict[str, Any]:
    """Count, median and p90, nearest rank, of the seconds from detected to verified."""
    taken = sorted(seconds(one["detected"], one["verified"]) for one in found
                   if one["verified"] and since <= one["verified"] <= at)  # fmt: skip
    rank = {name: taken[max(0, math.ceil(share * len(taken)) - 1)] if taken else None
            for name, share in (("median", 0.5), ("p90", 0.9), ("longest", 1.0))}  # fmt: skip
    return {"count": len(taken), **rank}


def sla(found: Iterable[dict[str, Any]], since: str, at: str) -> dict[str, int]:
    kinds = Counter[str]()
    for one in found:
        line, proved, over = one["deadline"], one["verified"], one["state"] in ("resolved", "gone")
        kinds["without_deadline"] += not over and line is None
        if line is None:
            continue
        broke = line < at and (proved > line if proved else one["state"] != "gone")
        if broke:
            kinds["breached"] += line >= since
            kinds["open_breaches"] += line >= since and not proved
        elif proved and since <= proved <= line:
            kinds["met"] += 1
        kinds["to_breach"] += not over and line >= at
    return {name: kinds[name] for name in ("met", "breached", "open_breaches", "to_breach", "without_deadline")}


def seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
