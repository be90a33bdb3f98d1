"""A retry policy as a value: which situation, how long. Delays double up to a bound and are drawn at random below
it, so that what failed together does not come back together."""

import datetime as dt
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays from `first`, doubling, up to `longest`; each drawn from the upper half of its range, because a delay
    near zero would be no delay."""

    first: dt.timedelta
    longest: dt.timedelta

    def delay(self, *, attempts: int) -> dt.timedelta:
        """The delay after so many attempts, from 1."""
        ceiling: dt.timedelta = min(self.first * 2 ** min(max(attempts - 1, 0), 16), self.longest)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
