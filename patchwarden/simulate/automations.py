"""The automations: executions are started, found and stopped, with the memory that Systems Manager has of a token."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch
from chalicelib.ports import Execution, Invocation
from patchwarden.simulate import events
from patchwarden.simulate.moments import moment
from patchwarden.simulate.world import World

_NAMESPACE = uuid.UUID("3a3a40f8-5a51-5f55-8a4e-6f3e0c8a3b10")


class WorldAutomations:
    """The port `Automations`: it remembers a token as long as the weather says, and finds a tag a little late."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, tuple[float, str]] = {}

    def start(self, batch: Batch) -> str:
        world, kept = self._world, self._world.weather.token_kept
        known = self._tokens.get(batch.token)
        if known and (kept is None or world.now - known[0] < kept):
            return known[1]
        id = str(uuid.uuid5(_NAMESPACE, f"{batch.id}/{len(world.runs)}"))
        self._tokens[batch.token] = world.now, id
        world.start(batch, id)
        return id

    def find(self, batch: Batch) -> str | None:
        seen = self._world.now - max(self._world.weather.tag_lag, self._world.lag)
        runs = self._world.runs.values()
        return next((run.id for run in runs if run.batch.id == batch.id and run.began <= seen), None)

    def execution(self, location: Location, execution: str) -> Execution | None:
        run = self._world.runs.get(execution)
        if run is None or run.batch.location != location:
            return None
        if run.ended is None:
            return Execution(run.id, "InProgress", ended=False, batch=run.batch.id)
        steps = {"InstallPatches": run.id} if run.installs else {}
        status = "Failed" if run.failed else "Success"
        return Execution(run.id, status, True, run.batch.id, moment(run.ended), steps)

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        return dict(self._world.runs[command].installs)

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        """The commands of others. Ours are left out: no promise that nothing starts twice may rest on this look."""
        then, world = self._world.now - self._world.lag, self._world
        there = {id: world.machines[Node(location.account, location.region, id)].theirs for id in ids}
        return {id: command for id, spans in there.items() for began, ends, command in spans if began <= then < ends}

    def stop(self, location: Location, execution: str) -> None:
        run = self._world.runs.get(execution)
        if run and run.ended is None:
            run.ended, run.failed = self._world.now, True
            self._world.emit("status", events.status(run))

    def cancel(self, location: Location, command: str) -> None:
        pass
