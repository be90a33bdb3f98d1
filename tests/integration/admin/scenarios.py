"""For every operation: how the row comes to where it is allowed, what is typed, and who may do it."""

import itertools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.functions import Now

from notifications.models import Message
from outbox import feed_tokens, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.models import FeedToken, ParkedEvent, Subscription
from outbox.relay import relay_once
from payments import breaker, refunds
from payments.models import BankEvent, Breaker, Difference, Dispute, Payment, Refund
from shop.groups import ADMINISTRATOR, APPROVER, OPERATOR, WAREHOUSE
from shop.models import Concern, Order, Product, Screening
from tests.integration.orders import offer, place

_positions = itertools.count(1_000_000)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`values` are typed beside the reason; `group` may do it, as the administrator may do everything."""

    prepare: Callable[[], Model]
    group: str = OPERATOR
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset({self.group, ADMINISTRATOR})


def _claimed() -> dict[str, Any]:
    return {"token": uuid.uuid4(), "claimed_by": "a worker", "due_at": Now()}


def _order(*, price: int = 2000) -> Order:
    order = place(offer(price=price)).order
    subscriptions.ensure_all()
    relay_once()
    dispatch_once("order-process")
    order.refresh_from_db()
    return order


def _payment(**fields: Any) -> Payment:
    """Of a released order, brought where a worker would have brought it."""
    rows = Payment.objects.filter(order_id=_order().pk)
    if status := fields.pop("status", None):
        rows.update(status="processing", **_claimed())
        intent = f"pi_{uuid.uuid4().hex}"
        rows.update(status=status, token=None, claimed_by="", due_at=None, intent_id=intent)
    rows.update(**fields)
    return rows.get()


def paid(*, price: int = 2000) -> Payment:
    rows = Payment.objects.filter(order_id=_order(price=price).pk)
    rows.update(status="processing", **_claimed())
    rows.update(
        status="succeeded", settled_at=Now(), token=None, claimed_by="", due_at=None, intent_id=f"pi_{uuid.uuid4().hex}"
    )
    return rows.get()


def _refund(*, price: int = 2000, amount: int = 500, **fields: Any) -> Refund:
    payment = paid(price=price)
    refund = refunds.request_refund(
        order_id=payment.order_id,
        amount=amount,
        reason="scratched",
        request_token=uuid.uuid4().hex,
        actor="operator:somebody",
        by_person=True,
    )
    Refund.objects.filter(pk=refund.pk).update(**fields)
    return Refund.objects.select_related("payment").get(pk=refund.pk)


def _awaiting() -> Refund:
    return _refund(price=50_000, amount=20_000)


def _dispute(**fields: Any) -> Dispute:
    payment = paid()
    return Dispute.objects.create(dispute_id=f"dp_{uuid.uuid4().hex}", payment=payment, **{"due_at": Now(), **fields})


def _screening(**fields: Any) -> Screening:
    order = _order(price=300_000)
    return Screening.objects.create(order=order, decides=False, **{"due_at": Now(), **fields})


def _concern() -> Concern:
    return Concern.objects.create(order=_order(), kind="refund_failed", detail="the card is closed")


def _message(*, status: str = "pending", **fields: Any) -> Message:
    order = _order()
    message = Message.objects.create(
        order_id=order.pk,
        order_number=order.number,
        event_id=uuid.uuid4(),
        template="order_confirmed",
        once=True,
        rather_twice=False,
        recipient=order.email,
        subject="Your order",
        text="…",
        html="…",
        due_at=Now(),
    )
    rows = Message.objects.filter(pk=message.pk)
    if status != "pending":
        rows.update(status="sending", **_claimed())
        rows.update(status=status, token=None, claimed_by="", due_at=None if status == "failed" else Now(), **fields)
    else:
        rows.update(**fields)
    return rows.get()


def _parked(*, status: str = "waiting") -> ParkedEvent:
    order = _order()
    return ParkedEvent.objects.create(
        subscription_id="messages",
        position=next(_positions),
        status=status,
        aggregatetype="order",
        aggregateid=str(order.pk),
        type="OrderAccepted",
        version=1,
        payload={"order_id": order.pk},
        created_at=order.created_at,
        error="Traceback …\nKeyError: 'name'",
    )


def _reader(*, paused: bool = False) -> Subscription:
    _order()
    dispatch_once("messages")
    Subscription.objects.filter(pk="messages").update(paused=paused)
    return Subscription.objects.get(pk="messages")


def _unread_feed() -> Subscription:
    _order()
    return Subscription.objects.get(pk="warehouse")


def _feed_token() -> FeedToken:
    with transaction.atomic():
        token = feed_tokens.create(feed="warehouse", name=uuid.uuid4().hex)
    return FeedToken.objects.get(pk=token.partition(".")[0])


def _product() -> Product:
    return offer()


def _breaker(**fields: Any) -> Breaker:
    breaker.ensure()
    closed = {"status": "closed", "open_since": None, "retry_at": None}
    Breaker.objects.filter(status__in=["held_open", "open", "forced_closed"]).update(**closed)
    if fields:
        Breaker.objects.update(**fields)
    return Breaker.objects.get()


def _difference() -> Difference:
    return Difference.objects.create(
        kind="unknown_payment",
        about=f"pi_{uuid.uuid4().hex}",
        amount=500,
        currency="EUR",
        detail="at the bank succeeded",
        happened_at="2026-01-01T00:00:00Z",
    )


def _charged_and_ended() -> Difference:
    """The bank has charged for a payment that had ended without money."""
    payment = _payment(status="declined")
    rows = Payment.objects.filter(pk=payment.pk)
    rows.update(status="canceling")
    rows.update(status="canceled", settled_at=Now())
    return Difference.objects.create(
        kind="charged_not_paid",
        about=payment.intent_id,
        payment=payment,
        amount=payment.amount,
        currency=payment.currency,
        detail="at the bank succeeded; our payment is canceled",
        happened_at="2026-01-01T00:00:00Z",
    )


def _unmatched() -> BankEvent:
    return BankEvent.objects.create(
        event_id=f"evt_{uuid.uuid4().hex}",
        type="charge.refunded",
        livemode=False,
        created="2026-01-01T00:00:00Z",
        refund_id="re_by_hand",
        status="unmatched",
    )


BLOCKED: dict[str, Any] = {"blocked_reason": "the bank refused our request", "due_at": None}
LATER: dict[str, Any] = {"due_at": "2099-01-01T00:00:00Z"}

SCENARIOS: dict[tuple[str, str], Scenario] = {
    ("shop.order", "cancel"): Scenario(prepare=_order),
    ("shop.order", "accept"): Scenario(prepare=lambda: _order(price=300_000)),
    ("shop.order", "reject"): Scenario(prepare=lambda: _order(price=300_000)),
    ("shop.screening", "retry"): Scenario(prepare=lambda: _screening(**LATER)),
    ("shop.screening", "unblock"): Scenario(prepare=lambda: _screening(**BLOCKED)),
    ("shop.concern", "take"): Scenario(prepare=_concern),
    ("shop.concern", "resolve"): Scenario(prepare=_concern),
    ("shop.product", "receipt"): Scenario(prepare=_product, group=WAREHOUSE, values={"quantity": "3"}),
    ("shop.product", "return"): Scenario(prepare=_product, group=WAREHOUSE, values={"quantity": "1"}),
    ("shop.product", "correction"): Scenario(prepare=_product, group=WAREHOUSE, values={"quantity": "-2"}),
    ("payments.payment", "refund"): Scenario(prepare=paid, values={"amount": "5.00"}),
    ("payments.payment", "retry"): Scenario(prepare=lambda: _payment(**LATER)),
    ("payments.payment", "check"): Scenario(prepare=lambda: _payment(status="requires_action")),
    ("payments.payment", "unblock"): Scenario(prepare=lambda: _payment(**BLOCKED)),
    ("payments.refund", "approve"): Scenario(prepare=_awaiting, group=APPROVER),
    ("payments.refund", "refuse"): Scenario(prepare=_awaiting, group=APPROVER),
    ("payments.refund", "retry"): Scenario(prepare=lambda: _refund(**LATER)),
    ("payments.refund", "unblock"): Scenario(prepare=lambda: _refund(**BLOCKED)),
    ("payments.dispute", "retry"): Scenario(prepare=lambda: _dispute(**LATER)),
    ("payments.dispute", "check"): Scenario(prepare=_dispute),
    ("payments.dispute", "unblock"): Scenario(prepare=lambda: _dispute(**BLOCKED)),
    ("payments.difference", "pay-back"): Scenario(prepare=_charged_and_ended),
    ("payments.difference", "take"): Scenario(prepare=_difference),
    ("payments.difference", "resolve"): Scenario(prepare=_difference),
    ("payments.bankevent", "set-aside"): Scenario(prepare=_unmatched),
    ("payments.breaker", "hold"): Scenario(prepare=_breaker),
    ("payments.breaker", "force"): Scenario(prepare=_breaker),
    ("payments.breaker", "automatic"): Scenario(prepare=lambda: _breaker(status="held_open", open_since=Now())),
    ("notifications.message", "resend"): Scenario(prepare=lambda: _message(status="failed")),
    ("notifications.message", "confirm"): Scenario(prepare=lambda: _message(status="ambiguous", ambiguous_at=Now())),
    ("notifications.message", "retry"): Scenario(prepare=lambda: _message(**LATER)),
    ("notifications.message", "check"): Scenario(prepare=lambda: _message(status="ambiguous", ambiguous_at=Now())),
    ("notifications.message", "unblock"): Scenario(prepare=lambda: _message(**BLOCKED)),
    ("outbox.parkedevent", "retry"): Scenario(prepare=_parked, group=ADMINISTRATOR),
    ("outbox.parkedevent", "skip"): Scenario(prepare=_parked, group=ADMINISTRATOR),
    ("outbox.subscription", "pause"): Scenario(prepare=_reader, group=ADMINISTRATOR),
    ("outbox.subscription", "resume"): Scenario(prepare=lambda: _reader(paused=True), group=ADMINISTRATOR),
    ("outbox.subscription", "replay"): Scenario(prepare=_reader, group=ADMINISTRATOR, values={"position": "1"}),
    ("outbox.subscription", "skip-to-end"): Scenario(prepare=_unread_feed, group=ADMINISTRATOR),
    ("outbox.feedtoken", "revoke"): Scenario(prepare=_feed_token, group=ADMINISTRATOR),
}
