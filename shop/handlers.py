"""The order process on the log: one step for each delivered order."""

from collections.abc import Sequence
from typing import Any

from outbox.events import Delivery
from outbox.registry import subscribe
from payments.events import (
    DisputeClosed,
    DisputeOpened,
    PaymentActionRequired,
    PaymentCanceled,
    PaymentDeclined,
    PaymentFailed,
    PaymentProcessed,
    RefundFailed,
)
from shop import acceptance, process_managers, screening
from shop.acting import act, decided, locked, state_of
from shop.events import OrderPlaced
from shop.velocity import paces


@subscribe(
    "order-process",
    OrderPlaced,
    PaymentProcessed,
    PaymentActionRequired,
    PaymentDeclined,
    PaymentFailed,
    PaymentCanceled,
    RefundFailed,
    DisputeOpened,
    DisputeClosed,
    one_per_stream=True,
)
def advance_orders(deliveries: Sequence[Delivery[Any]]) -> None:
    orders = locked([delivery.event.order_id for delivery in deliveries])
    paced = paces([orders[each.event.order_id] for each in deliveries if isinstance(each.event, OrderPlaced)])
    steps = []
    for delivery in deliveries:
        order = orders[delivery.event.order_id]
        verdict: acceptance.Verdict = acceptance.Verdict.ACCEPT
        reasons: tuple[str, ...] = ()
        if isinstance(delivery.event, OrderPlaced):
            verdict, reasons = acceptance.examine(order, paced[order.pk])
        step = process_managers.apply(state_of(order), delivery.event, verdict=verdict)
        steps.append(
            decided(order, step, context=delivery.consequence, because=type(delivery.event).TYPE, reasons=reasons)
        )
    taken = [each for each in steps if each is not None]
    act(taken)
    screening.request(taken)
