"""Whether a checkout may give its card to the bank: one statement asks and counts while nothing is unusual.

It counts the card against all its limits or does nothing. Whatever is unusual (a checkout that is an order already, a
bank that is away, a limit that is used up) is left to the steps, which say what it is.
"""

import datetime as dt
import uuid

from django.db import DataError
from django.http import HttpRequest

from outbox import prepared
from payments import breaker
from shop import intake, limits, selectors

# Counters are looked at first, each through its index. Others can use one up between the look and the count: then the
# statement fails on purpose, which takes all of it back.
_COUNT = f"""{limits.GIVEN}, written AS (
    INSERT INTO shop_trycount AS counted (source, ends_at, tries)
    SELECT source, ends_at, 1 FROM given
    WHERE NOT EXISTS (SELECT {breaker.STOPPED})
      AND NOT EXISTS (SELECT FROM shop_order WHERE checkout_token = %(checkout)s::uuid)
      AND NOT EXISTS (SELECT FROM given AS asked WHERE most <= (
          SELECT tries FROM shop_trycount AS there WHERE there.source = asked.source AND there.ends_at = asked.ends_at
      ))
    ORDER BY place
    {limits.COUNTED}
)
SELECT 1 / (count(*) IN (0, (SELECT count(*) FROM given)))::int, count(*) FROM written
""".encode()  # noqa: S608 - our own text


def admit(request: HttpRequest, *, checkout_token: uuid.UUID, now: dt.datetime) -> None:
    """Count the card of a checkout that may go on. The same order, sent again, brings no other card: it is not counted,
    and goes on whatever the bank does. Raises intake.Stopped or limits.TooManyTries."""
    if not _count_at_once(request, checkout_token, now):
        _admit_step_by_step(request, checkout_token, now)


def _count_at_once(request: HttpRequest, checkout_token: uuid.UUID, now: dt.datetime) -> bool:
    active = [limit for limit in limits.of_cards(request) if limit.most > 0]
    given = {**limits.parameters(active, now=now), "checkout": str(checkout_token)}
    try:
        ((_, counted),) = prepared.run(_COUNT, given)
    except DataError:
        return False
    return bool(counted)


def _admit_step_by_step(request: HttpRequest, checkout_token: uuid.UUID, now: dt.datetime) -> None:
    if selectors.is_ordered(checkout_token):
        return
    if intake.stopped():
        raise intake.Stopped
    limits.take_card_try(request, now=now)
