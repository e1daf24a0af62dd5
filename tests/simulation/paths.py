"""One machine and one way through the service, for the tests that put a fault at each of its outside calls."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from patchwarden.simulate.faults import Fault, Profile
from patchwarden.simulate.run import Simulated

_ALONE = Profile(chaos=1020.0)
"""The sweep of 900 s may be one that a fault hits: that of 1,800 s has ended when the run does."""

PATHS: Mapping[str, tuple[str, str, str]] = {
    "happy": ("well", "hot", "resolved"),
    "silent": ("well", "hot", "resolved"),
    "lingering": ("well", "plain", "resolved"),
    "retry": ("fails once", "hot", "resolved"),
    "exhausted": ("fails", "plain", "ticketed"),
    "lying": ("lies", "plain", "ticketed"),
    "unscanned": ("unscanned", "plain", "ticketed"),
    "reboot": ("reboots", "plain", "reboot_pending"),
    "ticket": ("well", "guarded", "ticketed"),
    "ticket then fixed": ("well", "guarded", "resolved"),
}
"""What an install does to the machine, its kind, and the state in which the remediation ends without faults."""


_SPANS = {"silent": (5400,)}
"""How long an execution takes, in seconds; 600 where nothing is said.

While one takes 90 minutes six sweeps do the same: one path goes that way, and no pair of faults is tried on it.
"""


def simulated(path: str, faults: Mapping[int, Fault]) -> Simulated:
    """The path with these faults, by the number of the call."""
    temper, kind, _ = PATHS[path]
    run = Simulated(1, 1, _ALONE, faults=faults)
    (machine,) = run.world.machines.values()
    run.world.spans = _SPANS.get(path, (600,))
    machine.temper, machine.tags = temper, {"Kind": kind}
    if path == "ticket then fixed":
        run.scheduler.at(600.0, lambda: run.world.fix(machine))
    return run


def wrong(path: str, faults: Mapping[int, Fault]) -> tuple[str, ...]:
    return simulated(path, faults).play().wrong


def calls(path: str, faults: Mapping[int, Fault] = MappingProxyType({})) -> list[str]:
    """The outside calls of the path with these faults, or without any."""
    run = simulated(path, faults)
    run.play()
    return run.calls.named
