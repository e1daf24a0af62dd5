"""Sabotage: the service with one of its safeguards taken out, from the outside, by a port that lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import Stale
from chalicelib.core.facts import AssociationState, NodeState, PatchState
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch
from chalicelib.ports import Change, Ports
from patchwarden.simulate.moments import moment
from patchwarden.simulate.rules import guarded
from patchwarden.simulate.run import Simulated
from patchwarden.simulate.visit import Visit


class Instead:
    """A port of which one method is another one."""

    def __init__(self, whole: Any, **methods: Callable[..., Any]) -> None:
        self._whole = whole
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def without_token(run: Simulated) -> None:
    """Systems Manager forgets each token at once, and a client's own retry starts another execution."""
    whole = run.automations

    def start(batch: Batch) -> str:
        whole._tokens.clear()
        return str(whole.start(batch))

    run.automations = Instead(whole, start=start)


def without_condition(run: Simulated) -> None:
    """Who lost a race writes all the same."""
    whole: Any = run.ledger

    def append(change: Change) -> None:
        try:
            whole.append(change)
        except Stale:
            whole._trails.setdefault(change.line.remediation, []).append(change.line)
            whole._replace_head(change.head)

    run.ledger = Instead(whole, append=append)


def without_sweep(run: Simulated) -> None:
    run.sweeps = False


def without_look_up(run: Simulated) -> None:
    """No execution is ever found by its tag."""
    run.automations = Instead(run.automations, find=lambda batch: None)


def without_lease(run: Simulated) -> None:
    """A line takes and gives back no lease."""
    whole = run.ledger
    run.ledger = Instead(whole, append=lambda change: whole.append(replace(change, take=(), give=())))


def without_reading_again(run: Simulated) -> None:
    """The dispatcher believes that every node is as it was when it was queued."""
    real = run._ports

    def ports(visit: Visit) -> Ports:
        bundle = real(visit)
        if not visit.name.startswith("dispatch"):
            return bundle
        blind = Instead(bundle.inventory, nodes=_all_online, patch_states=_never_scanned)
        return replace(bundle, inventory=blind)

    run._ports = ports  # type: ignore[method-assign]


def _all_online(location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
    return {id: NodeState(id, "ec2", "running", "Online", "Linux", tags={}) for id in ids}


def _never_scanned(location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
    return {}


def without_surge_guard(run: Simulated) -> None:
    """The policies look for no surge."""
    run.policies.stands = replace(guarded(), settings=replace(guarded().settings, surge=None))
    run.watch.guard(guarded())


def without_surge_of_a_policy(run: Simulated) -> None:
    """No policy has a ceiling of its own."""
    whole = guarded("policy")
    limits = [replace(one.then.limits, surge=None) for one in whole.policies]
    loose = [replace(one, then=replace(one.then, limits=limit))
             for one, limit in zip(whole.policies, limits, strict=True)]  # fmt: skip
    run.policies.stands = replace(whole, policies=tuple(loose))
    run.watch.guard(whole)


def without_surge_of_the_same(run: Simulated) -> None:
    """Nobody asks how many miss the very same patches."""
    whole = guarded("patch")
    surge = whole.settings.surge
    assert surge is not None
    # its ceiling is there, so that each decision still tells what is missing, and is never met
    run.policies.stands = replace(whole, settings=replace(whole.settings, surge=replace(surge, same=100)))
    run.watch.guard(whole)


def without_look_at_others(run: Simulated) -> None:
    """Nobody asks whether somebody else patches the node."""
    run.automations = Instead(run.automations, patching=lambda location, ids: {})


def without_asking_of_associations(run: Simulated) -> None:
    """Whoever calls an association compliant is believed."""
    run.inventory = Instead(run.inventory, associations=lambda node: AssociationState(0, moment(run.scheduler.now)))


SABOTAGE: Mapping[str, tuple[Callable[[Simulated], None], set[str]]] = {
    "token": (without_token, {"doubled"}),
    "append condition": (without_condition, {"chain"}),
    "sweep": (without_sweep, {"stuck", "lost", "owed"}),
    "tag look-up": (without_look_up, {"doubled"}),
    "node lease": (without_lease, {"doubled"}),
    "surge guard": (without_surge_guard, {"surged"}),
    "surge limit of a policy": (without_surge_of_a_policy, {"surged"}),
    "surge of the same patches": (without_surge_of_the_same, {"surged"}),
    "look at others who patch": (without_look_at_others, {"intruded"}),
    "question about associations": (without_asking_of_associations, {"unproved"}),
    "re-read before the start": (without_reading_again, {"blind"}),
}
"""Each safeguard: how it is taken out, and which promises must then be seen to break."""
