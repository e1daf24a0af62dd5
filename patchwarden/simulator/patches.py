"""Patches: what vendors release month by month for each platform, and what a baseline approves of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Patch:
    """One update as Patch Manager names it: `id` is a KB number or `package.architecture`."""

    id: str
    title: str
    classification: str
    severity: str
    cves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system as DescribeInstanceInformation spells it, and the classes that its baseline approves.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-predefined-and-custom-patch-baselines.html
    """

    key: str
    type: str
    name: str
    version: str
    approved: frozenset[str]
    releases: tuple[tuple[str, str, str, str], ...]

    @property
    def windows(self) -> bool:
        return self.type == "Windows"


_LINUX = frozenset({"Security"})
_WINDOWS = frozenset({"SecurityUpdates", "CriticalUpdates"})

# package, version ({n} grows with the month) or title, classification, severity
_AMAZON_LINUX = (
    ("kernel.x86_64", "0:6.1.{n}-{m}.312.amzn2023", "Security", "Critical"),
    ("openssl-libs.x86_64", "1:3.2.2-{m}.amzn2023.0.3", "Security", "Important"),
    ("curl-minimal.x86_64", "0:8.11.{m}-4.amzn2023.0.1", "Security", "Medium"),
    ("glibc.x86_64", "0:2.34-{n}.amzn2023.0.2", "Security", "Important"),
    ("python3.x86_64", "0:3.9.{m}-1.amzn2023.0.4", "Security", "Medium"),
    ("vim-minimal.x86_64", "2:9.1.{n}-1.amzn2023.0.1", "Security", "Low"),
    ("amazon-ssm-agent.x86_64", "0:3.3.{n}.0-1.amzn2023", "Bugfix", "None"),
    ("tzdata.noarch", "0:2026b-{m}.amzn2023.0.1", "Bugfix", "None"),
)
_RHEL = (
    ("kernel-core.x86_64", "0:5.14.0-{n}.42.1.el9_6", "Security", "Important"),
    ("openssh-server.x86_64", "0:8.7p1-{m}.el9_6.2", "Security", "Critical"),
    ("expat.x86_64", "0:2.5.0-{m}.el9_6.1", "Security", "Moderate"),
    ("bind-libs.x86_64", "32:9.16.23-{m}.el9_6.3", "Security", "Important"),
    ("libxml2.x86_64", "0:2.9.13-{m}.el9_6", "Security", "Moderate"),
    ("sudo.x86_64", "0:1.9.5p2-{m}.el9_6.1", "Security", "Important"),
    ("NetworkManager.x86_64", "1:1.52.0-{m}.el9_6", "Bugfix", "None"),
)
_UBUNTU = (
    ("linux-image-aws.amd64", "6.8.0-10{m}.1{m}~22.04.1", "Security", "Important"),
    ("libssl3.amd64", "3.0.2-0ubuntu1.{m}", "Security", "Important"),
    ("openssh-server.amd64", "1:8.9p1-3ubuntu0.{m}", "Security", "Optional"),
    ("libc6.amd64", "2.35-0ubuntu3.{m}", "Security", "Required"),
    ("python3.10.amd64", "3.10.12-1~22.04.{m}", "Security", "Important"),
    ("curl.amd64", "7.81.0-1ubuntu1.{m}", "Security", "Optional"),
    ("snapd.amd64", "2.68.{m}+ubuntu22.04", "Bugfix", "Optional"),
)
_SERVER = "for Microsoft server operating system version 21H2 for x64-based Systems"
_SERVER_2022_DATACENTER = "Microsoft Windows Server 2022 Datacenter"
_NET = ".NET Framework 3.5 and 4.8"
_SERVER_2022 = (
    ("KB50{n}11", f"{{month}} Cumulative Update {_SERVER}", "SecurityUpdates", "Critical"),
    ("KB50{n}27", f"{{month}} Cumulative Update for {_NET} {_SERVER}", "SecurityUpdates", "Important"),
    ("KB50{n}43", f"{{month}} Servicing Stack Update {_SERVER}", "SecurityUpdates", "Critical"),
    ("KB50{n}59", f"{{month}} Security Update for Microsoft Edge Runtime {_SERVER}", "SecurityUpdates", "Moderate"),
    ("KB50{n}75", f"{{month}} Update for Windows Security platform {_SERVER}", "Updates", "Unspecified"),
)

PLATFORMS = {
    platform.key: platform
    for platform in (
        Platform("amazon-linux", "Linux", "Amazon Linux", "2023", _LINUX, _AMAZON_LINUX),
        Platform("rhel", "Linux", "Red Hat Enterprise Linux", "9.6", _LINUX, _RHEL),
        Platform("ubuntu", "Linux", "Ubuntu", "22.04", _LINUX, _UBUNTU),
        Platform("windows", "Windows", _SERVER_2022_DATACENTER, "10.0.20348", _WINDOWS, _SERVER_2022),
    )
}

# What Systems Manager counts a vendor's severity as.
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SeveritySummary.html
COMPLIANCE_SEVERITIES = {
    "Critical": "CRITICAL",
    "Important": "HIGH",
    "Required": "HIGH",
    "Medium": "MEDIUM",
    "Moderate": "MEDIUM",
    "Optional": "LOW",
    "Low": "LOW",
}


def compliance_severity(patch: Patch) -> str:
    """CRITICAL, HIGH, MEDIUM, LOW or UNSPECIFIED."""
    return COMPLIANCE_SEVERITIES.get(patch.severity, "UNSPECIFIED")


def released(platform: Platform, year: int, month: int) -> tuple[Patch, ...]:
    """Everything that came out for a platform in one month; the same month always gives the same patches."""
    return _released(platform.key, year, month)


@cache
def _released(key: str, year: int, month: int) -> tuple[Patch, ...]:
    platform, months = PLATFORMS[key], year * 12 + month - 1
    serial = {"n": 100 + months % 900, "m": 10 + months % 90, "month": f"{year}-{month:02}"}
    patches = []
    for name, version, classification, severity in platform.releases:
        number, text = name.format(**serial), version.format(**serial)
        title = f"{text} ({number})" if platform.windows else f"{number}:{text}"
        patches.append(Patch(number, title, classification, severity, _cves(number, year, month, classification)))
    return tuple(patches)


def chosen(platform: Platform, year: int, month: int, *, draw: random.Random) -> list[Patch]:
    """What one node lacks of a month's release: two patches at least, one of them approved by its baseline."""
    everything = released(platform, year, month)
    approved = [patch for patch in everything if patch.classification in platform.approved]
    first = draw.choice(approved)
    others = draw.sample([patch for patch in everything if patch is not first], draw.randint(1, len(everything) - 2))
    return [patch for patch in everything if patch is first or patch in others]


def _cves(number: str, year: int, month: int, classification: str) -> tuple[str, ...]:
    """Invented, and outside the numbers that are handed out."""
    if "Security" not in classification:
        return ()
    return (f"CVE-{year}-{900000 + month * 1000 + sum(map(ord, number)) % 1000}",)
