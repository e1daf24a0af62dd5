"""Tickets: the slips that people would find in OpsCenter."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.tickets import Errand


@dataclass(slots=True)
class Slip:
    """A ticket: its key, which holds the remediation's id, and whether it is open."""

    id: str
    key: str
    open: bool = True


class WorldTickets:
    """The port `Tickets`: atomic by key, as OpsCenter is."""

    def __init__(self) -> None:
        self.kept: dict[str, Slip] = {}

    def open(self, errand: Errand) -> str:
        for slip in self.kept.values():
            if slip.key == errand.key and slip.open:
                return slip.id
        slip = Slip(f"oi-{len(self.kept) + 1:012x}", errand.key)
        self.kept[slip.id] = slip
        return slip.id

    def update(self, errand: Errand) -> None:
        pass

    def resolve(self, errand: Errand) -> None:
        slip = self.kept.get(errand.ticket or "")
        if slip:
            slip.open = False
