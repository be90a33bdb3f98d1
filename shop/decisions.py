"""What people, the clock and the warehouse decide about an order.

Each is one transaction under the order's lock; a person's decision leaves a row with actor, reason, before and
after. Raises NotPossible (shop.process_managers) when the order is past that point.
"""

from collections.abc import Callable

from django.db import transaction
from django.db.models.functions import Now

from outbox import context, decisions
from outbox.database import retried
from payments import services as payments
from shop import process_managers
from shop.acting import act, decided, locked, state_of
from shop.models import Order, Shipment
from shop.process_managers import OPERATOR, SHOPPER, SYSTEM, OrderProcess, Step

# Cards that may be tried for one order: a customer's honest mistakes, and an end to testing stolen cards.
MAX_CARDS = 5


class TooManyCards(Exception):
    """This order has seen enough cards; the message is meant for the shopper."""


class UnknownOrder(LookupError):
    """There is no such order."""


class ShipmentConflict(Exception):
    """The warehouse used a reference again for another fact."""


def _locked(order_id: int) -> Order:
    order = locked([order_id]).get(order_id)
    if order is None:
        raise UnknownOrder(f"There is no order {order_id}.")
    return order


def _decide(order_id: int, kind: str, *, actor: str, reason: str, step: Callable[[OrderProcess], Step]) -> Order:
    with transaction.atomic():
        order = _locked(order_id)
        what = decided(order, step(state_of(order)), context=context.current(), because=kind)
        if what is not None:
            decisions.record(
                kind=kind,
                about=order,
                story=order.pk,
                actor=actor,
                reason=reason,
                before=order.status,
                after=what.state.status,
            )
            act([what])
            order.status = what.state.status
    return order


def cancel_order(*, order_id: int, actor: str, reason: str) -> Order:
    """The shopper (`actor` is "shopper") or an operator ends an order; final only when bank and warehouse have
    answered."""
    by = SHOPPER if actor == SHOPPER else OPERATOR
    return _decide(
        order_id,
        "cancel",
        actor=actor,
        reason=reason,
        step=lambda state: process_managers.cancelled(state, by=by, reason=f"cancelled_by_{by}"),
    )


def review_order(*, order_id: int, accepted: bool, actor: str, reason: str) -> Order:
    """A person, or a slow check (`actor` is "system:…"), accepts or rejects an order under review; nothing was
    charged so far."""
    by = SYSTEM if actor.startswith(f"{SYSTEM}:") else OPERATOR
    return _decide(
        order_id,
        "accept" if accepted else "reject",
        actor=actor,
        reason=reason,
        step=lambda state: process_managers.reviewed(state, accepted=accepted, by=by),
    )


def give_card(*, order_id: int, payment_method: str) -> Order:
    """The customer gives another card after a decline, on the same intent. Raises TooManyCards."""
    with transaction.atomic():
        order = _locked(order_id)
        step = process_managers.card_given(state_of(order))
        if payments.cards_given(order_id=order_id) >= MAX_CARDS:
            raise TooManyCards(f"{MAX_CARDS} cards were tried for this order: please contact us, or order again.")
        what = decided(order, step, context=context.current(), because="card_given")
        act([what] if what else [])
        payments.give_card(order_id=order_id, payment_method=payment_method)
    return order


def expire_holds(*, limit: int = 100) -> int:
    """End the orders whose customer did not act in time; returns how many were looked at."""
    with transaction.atomic():
        orders = list(
            Order.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
            .filter(hold_until__lte=Now())
            .order_by("hold_until", "id")[:limit]
        )
        steps = [
            decided(
                order,
                process_managers.hold_expired(state_of(order)),
                context=context.current(),
                because=process_managers.HOLD_EXPIRED,
            )
            for order in orders
        ]
        act([each for each in steps if each is not None])
        # A clock that ran out where nothing has to be done any more is stopped, or it would come up for ever.
        Order.objects.filter(pk__in=[order.pk for order in orders]).update(hold_until=None)
    return len(orders)


_ANSWERS: dict[str, Callable[[OrderProcess], Step]] = {
    Shipment.Kind.SHIPPED: process_managers.shipped,
    Shipment.Kind.SHORT: process_managers.short,
    Shipment.Kind.WITHDRAWN: process_managers.withdrawn,
}


@retried()
def record_shipment(
    *,
    reference: str,
    order_id: int,
    kind: str,
    carrier: str = "",
    tracking: str = "",
    sequence: int | None = None,
    reported_by: str,
) -> bool:
    """Keep what the warehouse reports, whatever state the order is in, and draw the consequence.

    Returns False when the same report was there already. Raises UnknownOrder, or ShipmentConflict when the
    reference stands for another fact.
    """
    with transaction.atomic():
        order = _locked(order_id)
        reported = {
            "order_id": order_id,
            "kind": kind,
            "carrier": carrier,
            "tracking": tracking,
            "sequence": sequence,
        }
        # The same reference may arrive for two orders at once, whose locks are two: the unique key decides.
        shipment, is_new = Shipment.objects.get_or_create(
            reference=reference, defaults={**reported, "reported_by": reported_by}
        )
        if not is_new:
            if any(getattr(shipment, name) != value for name, value in reported.items()):
                raise ShipmentConflict(f"Reference {reference} stands for another report: {shipment}.")
            return False
        what = decided(
            order,
            _ANSWERS[kind](state_of(order)),
            context=context.current(),
            because=f"warehouse_{kind}",
            details={"carrier": carrier, "tracking": tracking, "detail": f"warehouse reference {reference}"},
        )
        act([what] if what else [])
    return True
