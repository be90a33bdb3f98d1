"""How fast orders come of one e-mail address and to one delivery address: what the acceptance rules know beside the
order itself.

Only what was ordered up to the order's own moment counts, so that the answer is the same however late it is asked.
"""

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from outbox import prepared
from shop.models import DESTINATION, SENDER, Order

# Stolen cards are tried within minutes; what comes hours later is a customer who liked it.
WINDOW = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Whether more orders than usual (settings) came within the window that ends with this order, itself included."""

    busy_email: bool = False
    busy_address: bool = False


def paces(orders: Sequence[Order]) -> dict[int, Pace]:
    """By the order's id, read for all orders at once."""
    if not orders:
        return {}
    found = prepared.run(
        _statement(),
        {
            "orders": prepared.numbers(order.pk for order in orders),
            "window": str(WINDOW.total_seconds()),
            "per_email": str(settings.REVIEW_ORDERS_PER_EMAIL),
            "per_address": str(settings.REVIEW_ORDERS_PER_ADDRESS),
        },
    )
    return {pk: Pace(busy_email=email, busy_address=address) for pk, email, address in found}


@functools.cache
def _statement() -> bytes:
    sender, destination = prepared.expression(Order, SENDER), prepared.expression(Order, DESTINATION)
    return f"""
    SELECT id, {_more_than("per_email", same=sender, own="sender")},
           {_more_than("per_address", same=destination, own="destination")}
    FROM (
        SELECT id, created_at, {sender} AS sender, {destination} AS destination
        FROM shop_order WHERE id = ANY (%(orders)s::bigint[])
    ) AS own
    """.encode()  # noqa: S608 - names of our own


def _more_than(limit: str, *, same: str, own: str) -> str:
    """Looks at no more than `limit` + 1 orders of the index, however many there are. A limit of 0 is none."""
    # Who was told "sold out" tries again, and is no thief.
    return f"""%({limit})s::int > 0 AND EXISTS (
        SELECT FROM shop_order
        WHERE {same} = own.{own} AND NOT process ? 'unavailable'
          AND created_at > own.created_at - make_interval(secs => %(window)s::float) AND created_at <= own.created_at
        LIMIT 1 OFFSET %({limit})s::int
    )"""
