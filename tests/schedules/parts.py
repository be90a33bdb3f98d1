"""What the actors do: each calls what a process of the store, a person or the outside world would call."""

import datetime as dt
import json
import uuid
from collections.abc import Callable
from dataclasses import replace

from django.conf import settings
from django.test import RequestFactory

from outbox.operating import Asked, Overtaken, Refused, Repeated, carry_out, look, subject_called
from payments import refund_worker, services, webhooks, worker
from payments.models import Payment, Refund
from shop import decisions
from shop.models import Order
from shop.process_managers import NotPossible
from tests.integration.webhooks.senders import signed_by_bank
from tests.schedules import actors
from tests.schedules.configuration import Part
from tests.schedules.stage import Rows, Stage

# Between two statements of an actor that are no crash point: a person has the page open, a clock has struck.
LOOKED, STRUCK = "looked", "struck"


def pause(point: str) -> None:
    actor = actors.current()
    assert actor is not None
    actor.stop(point)


# --- workers ----------------------------------------------------------------------------------------


def payment_workers(count: int) -> list[Part]:
    return _workers("worker", count, lambda stage: stage.work(worker.make_engine))


def refund_workers(count: int) -> list[Part]:
    return _workers("refunder", count, lambda stage: stage.work(refund_worker.make_engine))


def _workers(name: str, count: int, play: Callable[[Stage], None]) -> list[Part]:
    names = [f"{name}-{number}" for number in range(1, count + 1)]
    return [Part(name=each, play=play, twin_of=before) for before, each in zip(["", *names[:-1]], names, strict=True)]


def facts() -> Part:
    """Relay and dispatcher, as long as there is something to carry."""

    def staged(stage: Stage, rows: Rows) -> bool:
        return bool(rows.get("outbox_outboxrecord"))

    return Part(name="facts", play=lambda stage: stage.carry_facts(), may_begin=staged)


# --- time -------------------------------------------------------------------------------------------


def lease_ends() -> Part:
    """So long does somebody say nothing: the claims of all workers are over."""

    def claimed(stage: Stage, rows: Rows) -> bool:
        return any(row["token"] for table in _CLAIMED for row in rows.get(table, ()))

    def play(stage: Stage) -> None:
        stage.control.wait(dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS + 1))

    return Part(name="lease-ends", play=play, may_begin=claimed)


_CLAIMED = ("payments_payment", "payments_refund")


def next_try_comes() -> Part:
    """The same for backoffs: whatever was put off is due."""

    def put_off(stage: Stage, rows: Rows) -> bool:
        return any(row["due_at"] for table in _CLAIMED for row in rows.get(table, ()))

    return replace(lease_ends(), name="next-try", may_begin=put_off)


def hold_expires() -> Part:
    def runs(stage: Stage, rows: Rows) -> bool:
        return any(order["hold_until"] for order in rows["shop_order"])

    def play(stage: Stage) -> None:
        stage.control.wait(dt.timedelta(minutes=settings.HOLD_MINUTES))
        pause(STRUCK)
        decisions.expire_holds()

    return Part(name="hold-expires", play=play, may_begin=runs)


# --- people -----------------------------------------------------------------------------------------


def _operate(model: str, operation_name: str, pk: Callable[[Stage], int], actor: str) -> Callable[[Stage], None]:
    """A person looks at a row, then asks for something on what they saw."""

    def play(stage: Stage) -> None:
        subject = subject_called(model)
        assert subject is not None
        operation = subject.operation(operation_name)
        assert operation is not None
        row = subject.model._default_manager.get(pk=pk(stage))
        seen = str(look(subject, row))
        pause(LOOKED)
        asked = Asked(actor=actor, token=uuid.uuid4(), seen=seen, values={"reason": "as the customer wishes"})
        try:
            carry_out(subject, operation, str(row.pk), asked)
        except (Refused, Overtaken, Repeated):
            return

    return play


def operator_cancels() -> Part:
    return Part(name="operator", play=_operate("shop.order", "cancel", lambda stage: stage.order_id, "operator:olga"))


def operator_retries() -> Part:
    def payment(stage: Stage) -> int:
        return Payment.objects.get(order_id=stage.order_id).pk

    return Part(name="retrier", play=_operate("payments.payment", "retry", payment, "operator:otto"))


def operator_approves() -> Part:
    def refund(stage: Stage) -> int:
        return Refund.objects.get(payment__order_id=stage.order_id, requested_by="operator:olga").pk

    return Part(name="approver", play=_operate("payments.refund", "approve", refund, "operator:anna"))


def customer_cancels() -> Part:
    """Without looking twice, as a page does that was open for a while."""

    def play(stage: Stage) -> None:
        try:
            decisions.cancel_order(order_id=stage.order_id, actor="shopper", reason="changed my mind")
        except NotPossible:
            return

    return Part(name="customer", play=play)


def customer_gives_card(card: str = "pm_card_visa") -> Part:
    def declined(stage: Stage, rows: Rows) -> bool:
        return any(order["status"] == Order.Status.PAYMENT_DECLINED for order in rows["shop_order"])

    def play(stage: Stage) -> None:
        try:
            decisions.give_card(order_id=stage.order_id, payment_method=card)
        except (NotPossible, services.NotPayable):
            return

    return Part(name="customer", play=play, may_begin=declined)


def customer_confirms() -> Part:
    """The card's holder says yes at the bank."""

    def play(stage: Stage) -> None:
        (intent,) = stage.bank.objects("payment_intent")
        stage.bank.customer_confirms(intent["id"])

    return Part(name="3-d-secure", play=play)


# --- the outside ------------------------------------------------------------------------------------


def webhook(event_type: str = "payment_intent.succeeded") -> Part:
    """The bank tells of it, signed, at our own address."""

    def happened(stage: Stage, rows: Rows) -> bool:
        return any(event["type"] == event_type for event in stage.bank.objects("event"))

    def play(stage: Stage) -> None:
        event = next(each for each in stage.bank.objects("event") if each["type"] == event_type)
        body = json.dumps(event).encode()
        headers = {"Stripe-Signature": signed_by_bank(body)["Stripe-Signature"]}
        request = RequestFactory().post("/webhooks/stripe/", body, content_type="application/json", headers=headers)
        assert webhooks.stripe(request).status_code == 200

    return Part(name="webhook", play=play, may_begin=happened)


def nudge() -> Part:
    """The customer is back from the bank, or reconciliation wants another look."""
    return Part(name="nudge", play=lambda stage: _ignore(services.look_again(order_ids=[stage.order_id])))


def _ignore(count: int) -> None:
    """How many there were is nobody's business."""


def warehouse(kind: str) -> Part:
    def asked(stage: Stage, rows: Rows) -> bool:
        return any(order["process"].get("picking") for order in rows["shop_order"])

    def play(stage: Stage) -> None:
        order_id = stage.order_id
        decisions.record_shipment(reference=f"w-{kind}", order_id=order_id, kind=kind, reported_by="warehouse")

    return Part(name=f"warehouse-{kind}", play=play, may_begin=asked)
