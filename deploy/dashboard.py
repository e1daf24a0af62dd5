"""The dashboard: beside every graph, in words, what it means and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH, TEXT, HEIGHT = 15, 9, 6
"""A row is 24 wide. https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""

OURS = "Patchwarden/${Stage}"
"""What the filters of resources.yaml take from the log of one stage."""
COUNTED = "Patchwarden"
"""What the notices count themselves, for all stages of an account."""


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph: metrics as CloudWatch lists them or searches, how they are counted, and the two texts beside it."""

    title: str
    metrics: tuple[tuple[str, ...] | str, ...]
    statistic: str
    means: str
    do: str
    period: int = 900


def _queue(name: str) -> tuple[str, ...]:
    return ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", f"${{{name}.QueueName}}")


def _search(metric: str, split: str) -> str:
    """Whatever the metric is split into. The quotation marks must survive JSON."""
    return f"SEARCH('{{{COUNTED},{split}}} MetricName=\"{metric}\"', 'Sum', 900)"


GRAPHS = (
    Graph(
        "Dead letters",
        (_queue("Failures"), _queue("RuleFailures")),
        "Maximum",
        "Events and invocations that were given up. None is lost: the sweep finds what they were about.",
        "`patchwarden failures` lists them with the error. Mend the cause, then redrive the queue: all of it may run"
        " again, even days later.",
    ),
    Graph(
        "Sweeps",
        ((OURS, "Sweeps"), (OURS, "MissedByEvents")),
        "Sum",
        "One sweep every 15 minutes. MissedByEvents: findings that no event had brought.",
        "No sweep: read the log of on_sweep. Many missed: the forwarding rules of some member account are gone;"
        " `patchwarden doctor` says which.",
    ),
    Graph(
        "Checkpoints",
        ((OURS, "Checkpoints"),),
        "Sum",
        "One signature of the whole trail each hour.",
        "None: read the log of on_checkpoint. What was written since the last one is held by the chain alone.",
        3600,
    ),
    Graph(
        "Verify lag, seconds",
        ((OURS, "VerifyLag"),),
        "Maximum",
        "The longest that a patched node has waited for the scan that proves it.",
        "Over two hours it becomes a failed attempt. Look whether the node's agent answers and whether"
        " AWS-RunPatchBaseline Scan ends there.",
    ),
    Graph(
        "Oldest past its deadline, seconds",
        ((OURS, "PastDeadline"),),
        "Maximum",
        "How late the latest remediation is that nobody owns yet; 0 is none.",
        "`patchwarden status` shows what holds it: a window, a freeze, a limit, a pause or an approval.",
    ),
    Graph(
        "Accounts that refuse us",
        ((OURS, "Refused"),),
        "Sum",
        "Accounts that are set aside, counted in each sweep, and single calls that were refused. The others go on.",
        "The log of on_dispatch or on_sweep names place and error (`account_degraded`, `degraded`). Mostly the member"
        " role is missing or its external id is another: deploy member.yaml there.",
    ),
    Graph(
        "Paused",
        ((OURS, "Paused"),),
        "Maximum",
        "How many pauses hold, of everything or of a part, whether somebody or a guard made them.",
        "`patchwarden status` says who and why; `patchwarden resume` ends it.",
    ),
    Graph(
        "What was not believed",
        (_search("Rejected", "kind"), _search("PoliciesRefused", "decides")),
        "Sum",
        "Rejected: events that are not ours, or are malformed or forged. PoliciesRefused: a published policy set that"
        " does not load, while the last good one decides.",
        "The notice in the log says the reason. A refused set: publish one that passes `patchwarden policy check`.",
    ),
    Graph(
        "Remediations",
        tuple((COUNTED, "Transitions", "cause", cause) for cause in ("started", "resolved", "ticketed")),
        "Sum",
        "Started: an execution runs. Resolved: proved by a scan. Ticketed: a person's turn.",
        "Many started and few resolved: look at the failed executions before the attempts run out.",
        3600,
    ),
)


def dashboard(template: Mapping[str, Any]) -> dict[str, Any]:
    """The dashboard's body, with `${...}` for CloudFormation. Fails for a metric that nothing in `template` fills."""
    made = {
        found["Properties"]["MetricTransformations"][0]["MetricName"]
        for found in template["Resources"].values()
        if found.get("Type") == "AWS::Logs::MetricFilter"
    }
    widgets: list[dict[str, Any]] = []
    for row, graph in enumerate(GRAPHS):
        unknown = [metric[1] for metric in graph.metrics if metric[0] == OURS and metric[1] not in made]
        assert not unknown, f"no metric filter in resources.yaml makes {', '.join(unknown)}"
        widgets += [_text(graph, row * HEIGHT), _graph(graph, row * HEIGHT)]
    return {"widgets": widgets}


def _text(graph: Graph, y: int) -> dict[str, Any]:
    words = f"### {graph.title}\n\n**What it means.** {graph.means}\n\n**What to do.** {graph.do}"
    return {"type": "text", "x": 0, "y": y, "width": TEXT, "height": HEIGHT, "properties": {"markdown": words}}


def _graph(graph: Graph, y: int) -> dict[str, Any]:
    properties = {
        "title": graph.title,
        "region": "${AWS::Region}",
        "stat": graph.statistic,
        "period": graph.period,
        "metrics": [[{"expression": each}] if isinstance(each, str) else list(each) for each in graph.metrics],
    }
    return {"type": "metric", "x": TEXT, "y": y, "width": WIDTH, "height": HEIGHT, "properties": properties}
