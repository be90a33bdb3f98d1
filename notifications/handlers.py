"""Events of the log become messages: rows only, sent by the worker."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models.functions import Now

from notifications.catalogue import MAILS
from notifications.emails import facts, render
from notifications.models import Message
from outbox import claims
from outbox.events import Delivery
from outbox.registry import subscribe
from shop import selectors
from shop.models import Order


@subscribe("messages", *MAILS)
def write_messages(deliveries: Sequence[Delivery[Any]]) -> None:
    """One message for each event; those that exist already, by event or as the one of their order, stay."""
    orders = selectors.orders({delivery.event.order_id for delivery in deliveries})
    Message.objects.bulk_create(
        [_message(delivery, orders) for delivery in deliveries],
        ignore_conflicts=True,
    )
    claims.ring(Message)


def _message(delivery: Delivery[Any], orders: Mapping[int, Order]) -> Message:
    order, mail = orders[delivery.event.order_id], MAILS[type(delivery.event)]
    data = facts(order, **mail.details(delivery.event, order))
    email = render(mail.template, data)
    return Message(
        event_id=delivery.id,
        order_id=order.pk,
        order_number=order.number,
        template=mail.template,
        once=mail.once,
        rather_twice=mail.rather_twice,
        recipient=order.email,
        recipient_name=data["name"],
        subject=email.subject,
        text=email.text,
        html=email.html,
        data=data,
        due_at=Now(),
        headers=delivery.consequence.headers(),
    )
