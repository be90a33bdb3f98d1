"""How fast orders come of one e-mail address and to one delivery address: what the acceptance rules know beside the
order itself.

Only what was ordered up to the order's own moment counts, so that the answer is the same however late it is asked.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import BooleanField, Exists, OuterRef, Value
from django.db.models.expressions import Combinable

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
    rows = (
        Order.objects.filter(pk__in=[order.pk for order in orders])
        .alias(sender=SENDER, destination=DESTINATION)
        .annotate(
            busy_email=_more_than(settings.REVIEW_ORDERS_PER_EMAIL, same="sender"),
            busy_address=_more_than(settings.REVIEW_ORDERS_PER_ADDRESS, same="destination"),
        )
        .values_list("pk", "busy_email", "busy_address")
    )
    return {pk: Pace(busy_email=email, busy_address=address) for pk, email, address in rows}


def _more_than(limit: int, *, same: str) -> Combinable:
    """Looks at no more than `limit` + 1 orders of the index, however many there are. A limit of 0 is none."""
    if not limit:
        return Value(False, output_field=BooleanField())
    alike = (
        Order.objects.alias(sender=SENDER, destination=DESTINATION)
        .filter(
            created_at__gt=OuterRef("created_at") - WINDOW,
            created_at__lte=OuterRef("created_at"),
            **{same: OuterRef(same)},
        )
        .exclude(process__has_key="unavailable")  # who was told "sold out" tries again, and is no thief
    )
    return Exists(alike[limit : limit + 1])
