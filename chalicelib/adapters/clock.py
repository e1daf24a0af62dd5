"""The system's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """UTC from the machine; in Lambda AWS keeps it right to within milliseconds."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait, for real."""
        # a second of Lambda is cheaper than a start that its account throttles, and the retry after it
        time.sleep(seconds)
