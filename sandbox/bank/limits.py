"""How many requests a second the bank takes (docs.stripe.com/rate-limits)."""

from __future__ import annotations

import math
import time

from sandbox.bank.errors import rate_limited


class RateLimit:
    """A token bucket that holds one second's worth of requests."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._tokens = float(per_second or 0)
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """Take one request's token. Raises ApiError (429) when there is none."""
        if self._per_second is None:
            return
        now = time.monotonic()
        filled = self._tokens + (now - self._filled_at) * self._per_second
        self._tokens = min(float(self._per_second), filled)
        self._filled_at = now
        if self._tokens < 1:
            wait = (1 - self._tokens) / self._per_second
            raise rate_limited(retry_after=max(1, math.ceil(wait)), reason="global-rate")
        self._tokens -= 1
