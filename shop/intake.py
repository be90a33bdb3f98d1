"""Whether the store takes orders: not while nothing could be charged for a while."""

import datetime as dt

from django.conf import settings

from payments import breaker

# What a browser or a crawler is told to wait; the breaker's own pauses are not longer.
RETRY_AFTER = dt.timedelta(minutes=1)


class Stopped(Exception):
    """No order is taken now."""


def stopped() -> bool:
    """True when charges have waited for longer than INTAKE_STOP_MINUTES."""
    waiting = breaker.open_for()
    if waiting is None or not settings.INTAKE_STOP_MINUTES:
        return False
    return waiting >= dt.timedelta(minutes=settings.INTAKE_STOP_MINUTES)
