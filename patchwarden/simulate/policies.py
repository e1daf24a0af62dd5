"""The policies: the set that decides in a run, and what takes its place in the middle of it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from chalicelib.core.policies import PolicySet
from patchwarden.simulate.rules import GUARDS, first, guarded, second


class WorldPolicies:
    """The port `PolicyStore`. `guards`: a set with guards, to begin with; `silent`: silent agents are ticketed;
    `older`: an older release is at work in the beginning. `stands` is the set that decides."""

    def __init__(self, guards: PolicySet | None, *, silent: bool, older: bool) -> None:
        self._guarded, self._silent, self._older = guards is not None, silent, older
        self._switched = self._alarm = False
        self.stands: PolicySet = guards or self._of_then(first(silent=silent))

    def active(self) -> PolicySet:
        return self.stands

    def trouble(self) -> str | None:
        return None

    def switch(self) -> None:
        """Another set is published."""
        self._switched = True
        self.stands = self._of_then(second(surge=self._guarded, alarm=self._alarm, silent=self._silent))

    def alarm(self) -> None:
        """The policy of the emergency is published."""
        self._alarm = True
        self.stands = (second if self._switched else first)(alarm=True, silent=self._silent)

    def _of_then(self, policies: PolicySet) -> PolicySet:
        """An older release knew no immutable groups: where one was at work, no policy names any."""
        return replace(policies, settings=replace(policies.settings, immutable=None)) if self._older else policies


def guards(apart: Random, share: float) -> PolicySet | None:
    """The set of a seed with guards, which looks for one of several sorts of surges."""
    return guarded(apart.choice(GUARDS)) if apart.random() < share else None
