"""The limiter: one token for each call to the bank, from a bucket that all workers and processes share.

Tokens are taken before rows are claimed, so that no row is claimed that cannot be called. A 429 empties the bucket for
as long as the bank says, and halves its rate, which then recovers. The database's clock fills it.

The bucket's row is locked before the breaker's, and stays locked until its transaction ends. A claim takes it before
its rows, but waits for none of those.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, Func

from payments.gateways.base import Answer
from payments.models import Bucket

logger = logging.getLogger(__name__)

GATEWAY = "stripe"
# How long the rate takes from nothing to what the settings say: the bank's limits look at seconds.
RECOVERY = dt.timedelta(seconds=60)
# However often the bank complains, this part of the rate is left: it must be seen when it no longer does.
LEAST = 1 / 16
# Where the bank says "too fast" without saying for how long.
PAUSE = dt.timedelta(seconds=1)
# Seconds between two looks at an empty bucket.
LOOK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How full the bucket is, up to when that is counted, and its rate."""

    tokens: float
    rate: float
    filled_at: dt.datetime


def is_on() -> bool:
    return float(settings.PAYMENT_CALLS_PER_SECOND) > 0


def filled(level: Level, *, now: dt.datetime, rate: float, burst: float) -> Level:
    """What has run in since then, at most `burst`; `rate` is the full one, to which a lowered one recovers."""
    passed = (now - level.filled_at).total_seconds()
    if passed <= 0:
        return level
    return Level(
        tokens=min(burst, level.tokens + passed * min(level.rate, rate)),
        rate=min(rate, level.rate + rate * passed / RECOVERY.total_seconds()),
        filled_at=now,
    )


def slowed(level: Level, *, now: dt.datetime, wait: dt.timedelta, rate: float) -> Level:
    """Nothing before the wait is over, and then less. All calls that were under way are told the same thing: only the
    first of them lowers the rate."""
    lowered = level.rate if level.filled_at > now else max(level.rate / 2, rate * LEAST)
    return Level(tokens=0.0, rate=lowered, filled_at=max(level.filled_at, now + wait))


def take(wanted: int) -> int:
    """Take up to so many tokens, inside the transaction that uses them; returns how many there were."""
    if wanted <= 0 or not is_on():
        return wanted
    row, now = _locked()
    level = filled(_level(row), now=now, rate=settings.PAYMENT_CALLS_PER_SECOND, burst=_burst())
    granted = min(wanted, int(level.tokens))
    if granted:  # an empty bucket is written by whoever finds a token in it
        _write(row, replace(level, tokens=level.tokens - granted))
    return granted


def give_back(unused: int) -> None:
    """Tokens that this transaction has taken and does not need."""
    if unused <= 0 or not is_on():
        return
    row, _ = _locked()
    _write(row, replace(_level(row), tokens=min(_burst(), row.tokens + unused)))


def note(answers: Iterable[Answer]) -> None:
    """Slow everybody down if the bank said so in any of these answers. Asks the database nothing otherwise."""
    waits = [answer.retry_after or PAUSE for answer in answers if answer.http_status == 429]
    if not waits or not is_on():
        return
    row, now = _locked()
    rate = settings.PAYMENT_CALLS_PER_SECOND
    level = slowed(filled(_level(row), now=now, rate=rate, burst=_burst()), now=now, wait=max(waits), rate=rate)
    _write(row, level)
    logger.warning("action=slowed rate=%.2f until=%s", level.rate, level.filled_at)


def wait_for_one(*, stop: Callable[[], bool] = lambda: False) -> None:
    """Take one token, however long that takes; outside any transaction. For what lists, beside the workers."""
    while is_on() and not stop():
        with transaction.atomic():
            if take(1):
                return
        time.sleep(LOOK)


def _burst() -> float:
    return max(1.0, float(settings.PAYMENT_CALL_BURST))


def _level(row: Bucket) -> Level:
    return Level(tokens=row.tokens, rate=row.rate, filled_at=row.filled_at)


def _locked() -> tuple[Bucket, dt.datetime]:
    """The row under its lock, and the time once we have it: waiting for the lock may have taken a while."""
    clock = Func(function="clock_timestamp", output_field=DateTimeField())
    rows = Bucket.objects.select_for_update(no_key=True).filter(gateway=GATEWAY).annotate(now=clock)
    row = rows.first()
    if row is None:
        full = {"tokens": _burst(), "rate": settings.PAYMENT_CALLS_PER_SECOND}
        Bucket.objects.bulk_create([Bucket(gateway=GATEWAY, **full)], ignore_conflicts=True)
        row = rows.get()
    return row, row.now


def _write(row: Bucket, level: Level) -> None:
    Bucket.objects.filter(pk=row.pk).update(tokens=level.tokens, rate=level.rate, filled_at=level.filled_at)
