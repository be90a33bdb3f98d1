"""Which event makes which mail. Another mail is one entry here and its three templates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from notifications.emails import Facts
from outbox.events import DomainEvent
from payments.events import PaymentActionRequired, PaymentDeclined, RefundProcessed
from payments.money import display
from shop.acting import state_of
from shop.events import (
    InventoryUnavailable,
    OrderAccepted,
    OrderCancelled,
    OrderFulfillmentFailed,
    OrderPaymentFailed,
    OrderShipped,
)
from shop.selectors import Ordered


def _nothing_more(event: Any, ordered: Ordered) -> Facts:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """`once`: an order gets at most one of this template, whichever events ask for it. `rather_twice`: when
    nobody knows whether it was sent, it is sent again after a day. `details` adds what the event knows."""

    template: str
    once: bool = True
    rather_twice: bool = False
    details: Callable[[Any, Ordered], Facts] = _nothing_more


def _money(ordered: Ordered, *, refund: bool) -> Facts:
    """What becomes of it: sent back by us, or `at_bank`: charged, while the customer's bank fetches it by itself."""
    return {"refund": refund, "at_bank": state_of(ordered.order).paid and not refund}


def _hold(event: PaymentActionRequired | PaymentDeclined, ordered: Ordered) -> Facts:
    return {"hold_minutes": settings.HOLD_MINUTES}


def _sold_out(event: InventoryUnavailable, ordered: Ordered) -> Facts:
    short = {line.product_id for line in event.lines}
    names = [line.name for line in ordered.lines if line.product_id in short]
    return {"why": "sold_out", "missing": names, **_money(ordered, refund=False)}


def _cancelled(event: OrderCancelled, ordered: Ordered) -> Facts:
    why = "asked" if event.cancelled_by == "shopper" else "store"
    return {"why": why, "missing": [], **_money(ordered, refund=event.refund_issued)}


def _unpaid(event: OrderPaymentFailed, ordered: Ordered) -> Facts:
    return {"why": "unpaid", "missing": [], **_money(ordered, refund=False)}


def _undeliverable(event: OrderFulfillmentFailed, ordered: Ordered) -> Facts:
    return {"why": "undeliverable", "missing": [], **_money(ordered, refund=not state_of(ordered.order).disputed)}


def _shipped(event: OrderShipped, ordered: Ordered) -> Facts:
    return {"carrier": event.carrier, "tracking": event.tracking}


def _refunded(event: RefundProcessed, ordered: Ordered) -> Facts:
    return {
        "amount": display(amount=event.amount, currency=event.currency),
        "partial": event.amount < ordered.order.total,
    }


MAILS: dict[type[DomainEvent], Mail] = {
    OrderAccepted: Mail(template="order_confirmed"),
    PaymentActionRequired: Mail(template="payment_action_required", once=False, details=_hold),
    PaymentDeclined: Mail(template="payment_declined", once=False, details=_hold),
    # An order ends once, whatever ends it.
    InventoryUnavailable: Mail(template="order_cancelled", details=_sold_out),
    OrderCancelled: Mail(template="order_cancelled", details=_cancelled),
    OrderPaymentFailed: Mail(template="order_cancelled", details=_unpaid),
    OrderFulfillmentFailed: Mail(template="order_cancelled", details=_undeliverable),
    # Two mails with a tracking number bother nobody; a parcel that nobody expects may be lost.
    OrderShipped: Mail(template="order_shipped", rather_twice=True, details=_shipped),
    RefundProcessed: Mail(template="order_refunded", once=False, details=_refunded),
}
