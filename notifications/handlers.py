"""Events of the log become messages: rows only, sent by the worker."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from notifications.catalogue import MAILS
from notifications.emails import facts, render
from notifications.models import Message
from outbox import claims, prepared
from outbox.events import Delivery
from outbox.registry import subscribe
from shop import selectors


@functools.cache
def _insertion() -> bytes:
    source = prepared.given(Message, "messages")
    return f"{prepared.insertion(Message, source, due_at='statement_timestamp()')} ON CONFLICT DO NOTHING".encode()


@subscribe("messages", *MAILS)
def write_messages(deliveries: Sequence[Delivery[Any]]) -> None:
    """One message for each event; those that exist already, by event or as the one of their order, stay."""
    orders = selectors.orders({delivery.event.order_id for delivery in deliveries})
    prepared.run(_insertion(), {"messages": prepared.as_json(_message(delivery, orders) for delivery in deliveries)})
    claims.ring(Message)


def _message(delivery: Delivery[Any], orders: Mapping[int, selectors.Ordered]) -> prepared.Row:
    ordered, mail = orders[delivery.event.order_id], MAILS[type(delivery.event)]
    data = facts(ordered, **mail.details(delivery.event, ordered))
    email, order = render(mail.template, data), ordered.order
    return prepared.row(
        Message,
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
        headers=delivery.consequence.headers(),
    )
