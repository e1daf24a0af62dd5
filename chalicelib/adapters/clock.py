"""The system's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """UTC from the machine; in Lambda AWS keeps it right to within milliseconds."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Waiting costs a second of Lambda; starting faster than an account allows costs a throttle and a retry."""
        time.sleep(seconds)
