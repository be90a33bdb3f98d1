"""Orders that are paid and to be picked, without a bank: payments says that it was charged, the rest is real."""

from django.db import connection, transaction

from outbox import registry
from outbox.dispatcher import dispatch_once
from outbox.publisher import publish
from outbox.relay import relay_once
from payments.events import PaymentProcessed
from payments.models import Payment, Refund
from shop.models import Concern, Order, OrderLine, Product, Shipment, Stock
from tests.integration.orders import place


def settle() -> None:
    """Relay and handle until nothing moves; no worker that would call somebody."""
    while relay_once() + sum(dispatch_once(each.name) for each in registry.subscribers()):
        pass


def charged(order: Order) -> None:
    payment = Payment.objects.get(order_id=order.pk)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE payments_payment SET status = 'succeeded', settled_at = now(), due_at = NULL, intent_id = %s "
            "WHERE id = %s",
            [f"pi_{order.pk}", payment.pk],
        )
        publish(
            PaymentProcessed(
                order_id=order.pk,
                payment_id=str(payment.pk),
                amount=payment.amount,
                currency=payment.currency,
                intent_id=f"pi_{order.pk}",
            )
        )


def accepted(product: Product, *, orders: int = 1) -> list[int]:
    """So many orders of one piece each, accepted, their picklists requested; their ids."""
    placed = [place(product).order for _ in range(orders)]
    settle()
    for order in placed:
        charged(order)
    settle()
    assert {status(order.pk) for order in placed} == {"accepted"}
    return [order.pk for order in placed]


def status(order_id: int) -> str:
    return Order.objects.get(pk=order_id).status


def facts(order_id: int) -> list[str]:
    """What the warehouse has reported, in the warehouse's own order."""
    rows = Shipment.objects.filter(order=order_id).order_by("sequence", "pk")
    return [str(kind) for kind in rows.values_list("kind", flat=True)]


def concerns(order_id: int) -> list[str]:
    return list(Concern.objects.filter(order=order_id).order_by("pk").values_list("kind", flat=True))


def refunds(order_id: int) -> int:
    return Refund.objects.filter(payment__order_id=order_id).count()


def holds(order_id: int) -> set[str]:
    return set(OrderLine.objects.filter(order=order_id).values_list("hold", flat=True))


def stock(product: Product) -> tuple[int, int]:
    """On hand, reserved."""
    row = Stock.objects.get(product=product)
    return row.on_hand, row.reserved
