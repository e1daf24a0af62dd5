"""Quotas: what Systems Manager takes in an account and Region, against what the policies ask for there.

https://docs.aws.amazon.com/general/latest/gr/ssm.html
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from patchwarden.doctor.nodes import known
from patchwarden.doctor.remarks import OK, WARNING, WRONG, Patient, Remark

ADAPTIVE = "/ssm/automation/enable-adaptive-concurrency"
MOST_ADAPTIVE = 500


@dataclass(frozen=True, slots=True)
class Quota:
    """One of Systems Manager's. `words` are in its name at Service Quotas and `without` are not; AWS documents `usual`.

    AWS gives every quota a code, but publishes no list of them: so names are read.
    """

    words: tuple[str, ...]
    usual: float
    without: tuple[str, ...] = ()

    def among(self, told: Mapping[str, float]) -> tuple[float, str]:
        """Its value, and where that comes from: an account may have none listed."""
        for name, value in told.items():
            low = name.lower()
            if all(word in low for word in self.words) and not any(word in low for word in self.without):
                return value, "Service Quotas"
        return self.usual, "AWS's documentation"


AT_ONCE = Quota(("concurrent", "automation"), 100, ("rate control", "queue"))
QUEUED = Quota(("automation", "queue"), 1000, ("rate control",))
RATE_CONTROL = Quota(("concurrent", "rate control"), 25)
STARTS = Quota(("startautomationexecution",), 1)
NODES = Quota(("managed node",), 2400)


def quotas(patient: Patient) -> Iterator[Remark]:
    """Every quota that what the policies ask for would exceed, each with where to have it raised."""
    told = _told(patient)
    adaptive = _adaptive(patient)
    faults = [*_executions(patient, told, adaptive), *_starts(patient, told), *_schedules(patient, told),
              *_nodes(patient, told)]  # fmt: skip
    if not adaptive:
        yield patient.says(
            "concurrency", WARNING, "adaptive concurrency is off: 100 executions at once, and a storm queues",
            "switch it on", f"aws ssm update-service-setting --setting-id {ADAPTIVE} --setting-value True",
        )  # fmt: skip
    else:
        yield patient.says("concurrency", OK, "adaptive concurrency is on")
    yield from faults or [patient.says("quotas", OK, "what the policies ask for is within Systems Manager's quotas")]


def _told(patient: Patient) -> dict[str, float]:
    """The defaults of the Region, and over them what was applied to the account."""
    found: dict[str, float] = {}
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in patient.pages("service-quotas", operation, ServiceCode="ssm", MaxResults=100):
            found |= {one["QuotaName"]: one["Value"] for one in page["Quotas"]}
    return found


def _adaptive(patient: Patient) -> bool:
    value = patient.ask("ssm", "get_service_setting", SettingId=ADAPTIVE)["ServiceSetting"]["SettingValue"]
    return str(value).lower() == "true"


def _executions(patient: Patient, told: Mapping[str, float], adaptive: bool) -> Iterator[Remark]:
    wanted, (most, source) = patient.asks.executions, AT_ONCE.among(told)
    most = max(most, MOST_ADAPTIVE) if adaptive else most
    queued = QUEUED.among(told)[0]
    if wanted > most + queued:
        yield patient.says(
            "quotas", WRONG,
            f"executions_per_location asks for {wanted} at once; {most:g} run, {queued:g} more may queue ({source}), "
            "and every further start is refused", *_lower("executions_per_location in policies/_set.yaml"),
        )  # fmt: skip
    elif wanted > most:
        yield patient.says(
            "quotas", WARNING, f"executions_per_location asks for {wanted} at once, and {most:g} run ({source}): the "
            "rest queue, and may come out of their window", *_lower("executions_per_location in policies/_set.yaml"),
        )  # fmt: skip


def _starts(patient: Patient, told: Mapping[str, float]) -> Iterator[Remark]:
    rate, source = STARTS.among(told)
    if rate < STARTS.usual:
        yield patient.says(
            "quotas", WRONG, f"StartAutomationExecution is taken {rate:g} times a second ({source}), and dispatch "
            "starts once a second", *_raise("the rate of StartAutomationExecution requests"),
        )  # fmt: skip


def _schedules(patient: Patient, told: Mapping[str, float]) -> Iterator[Remark]:
    count, (most, source) = len(patient.asks.schedules), RATE_CONTROL.among(told)
    if count > most:
        yield patient.says(
            "quotas", WARNING, f"{count} schedules may work here at once, and {most:g} rate-control executions run "
            f"({source}): the rest queue", *_raise("concurrently executing rate control automations"),
        )  # fmt: skip


def _nodes(patient: Patient, told: Mapping[str, float]) -> Iterator[Remark]:
    count, (most, source) = sum(1 for _ in known(patient)), NODES.among(told)
    if count > most * 0.9:
        yield patient.says(
            "quotas", WARNING, f"{count} of {most:g} managed nodes ({source}): what comes beyond is never patched",
            *_raise("managed nodes"),
        )  # fmt: skip


def _raise(name: str) -> tuple[str, str]:
    return (
        f"ask for more: console, Service Quotas, AWS Systems Manager, {name}",
        "aws service-quotas list-service-quotas --service-code ssm",
    )


def _lower(what: str) -> tuple[str, str]:
    return f"lower {what}, or ask for more: console, Service Quotas, AWS Systems Manager", "patchwarden policy publish"
