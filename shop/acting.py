"""Acting out what the order process decides: states are loaded under the orders' locks, saved, and the commands of
many orders carried out together.

Lock order: cursor → order → screening → stock → payment → refund. Every function needs a transaction.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec
from django.conf import settings

from outbox import prepared
from outbox.context import Context
from outbox.events import DomainEvent
from outbox.publisher import publish_all
from payments import refunds
from payments import services as payments
from shop import stock
from shop.events import (
    Line,
    OrderAccepted,
    OrderCancelled,
    OrderFulfillmentFailed,
    OrderPaid,
    OrderPaymentFailed,
    OrderShipped,
    OrderUnderReview,
    PicklistRequested,
    PicklistWithdrawn,
)
from shop.models import Concern, Order
from shop.process_managers import Command, OrderProcess, Step


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """An order whose process took a step: what it is now, what to do, and why.

    `because` names the fact; `details` carries what only that fact knows (carrier, tracking, detail).
    """

    order: Order
    state: OrderProcess
    commands: Sequence[Command]
    context: Context
    because: str
    reasons: tuple[str, ...] = ()
    details: Mapping[str, str] = {}


_LOCK = f"{prepared.selection(Order)} WHERE id = ANY (%(orders)s::bigint[]) ORDER BY id FOR NO KEY UPDATE".encode()


def locked(order_ids: Sequence[int]) -> dict[int, Order]:
    """The orders, fresh and locked, by id."""
    return {order.pk: order for order in prepared.read(Order, _LOCK, {"orders": prepared.numbers(order_ids)})}


def state_of(order: Order) -> OrderProcess:
    return OrderProcess.load(status=order.status, stored=order.process)


def decided(
    order: Order,
    step: Step,
    *,
    context: Context,
    because: str,
    reasons: tuple[str, ...] = (),
    details: Mapping[str, str] | None = None,
) -> Decided | None:
    """What a step means for its order; None when it means nothing."""
    state, commands = step
    if state == state_of(order) and not commands:
        return None
    return Decided(
        order=order,
        state=state,
        commands=commands,
        context=context,
        because=because,
        reasons=reasons,
        details=details or {},
    )


_HOLD_UNTIL = """CASE
    WHEN given.starts THEN statement_timestamp() + make_interval(mins => %(minutes)s::int)
    WHEN NOT given.stops THEN hold_until
END"""


def act(steps: Sequence[Decided]) -> None:
    """Save the states and carry out all commands, those of one kind together. Each order's events keep the
    sequence of its commands. Needs the orders' locks."""
    if not steps:
        return
    _save(steps)
    wanted: dict[Command, list[Decided]] = defaultdict(list)
    events: list[tuple[DomainEvent, Context]] = []
    lines = _lines([each.order.pk for each in steps if Command.REQUEST_PICKLIST in each.commands])
    for each in steps:
        for command in each.commands:
            wanted[command].append(each)
            if report := _REPORTS.get(command):
                events.append((report(each, lines.get(each.order.pk, ())), each.context))
    for command, carry_out in _EFFECTS.items():
        if affected := wanted[command]:
            carry_out(affected)
    publish_all(events)


def _save(steps: Sequence[Decided]) -> None:
    taken = prepared.changes(
        {
            "id": each.order.pk,
            "status": each.state.status,
            "process": each.state.dump(),
            "starts": Command.START_HOLD_CLOCK in each.commands,
            "stops": Command.STOP_HOLD_CLOCK in each.commands,
        }
        for each in steps
    )
    prepared.run(_saving(), {**taken, "minutes": str(settings.HOLD_MINUTES)})


@functools.cache
def _saving() -> bytes:
    assigned = {
        "status": "given.status",
        "process": "given.process",
        "hold_until": _HOLD_UNTIL,
        "version": "version + 1",
        "updated_at": "statement_timestamp()",
    }
    return prepared.change(Order, assigned, ("status", "process"), starts="boolean", stops="boolean").encode()


_LINES = b"""
SELECT order_id, product_id, quantity FROM shop_orderline
WHERE order_id = ANY (%(orders)s::bigint[]) ORDER BY order_id, product_id
"""


def _lines(order_ids: Sequence[int]) -> dict[int, tuple[Line, ...]]:
    found: dict[int, tuple[Line, ...]] = defaultdict(tuple)
    if order_ids:
        for order_id, product_id, quantity in prepared.run(_LINES, {"orders": prepared.numbers(order_ids)}):
            found[order_id] += (Line(product_id=product_id, quantity=quantity),)
    return found


def _ids(steps: Sequence[Decided]) -> list[int]:
    return [each.order.pk for each in steps]


def _refund(steps: Sequence[Decided]) -> None:
    """All that is left; one such refund for each order, however often it is asked for."""
    for each in steps:
        refunds.refund_rest(
            order_id=each.order.pk,
            reason=each.state.reason or each.because,
            request_token=f"order:{each.order.pk}:rest",
            actor="system",
        )


def _ask_a_person(steps: Sequence[Decided]) -> None:
    Concern.objects.bulk_create(
        Concern(order=each.order, kind=each.because, detail=each.details.get("detail", "")) for each in steps
    )


# What a command does to rows, in the order of the locks.
_EFFECTS: dict[Command, Callable[[Sequence[Decided]], None]] = {
    Command.CONSUME_STOCK: lambda steps: stock.consume(order_ids=_ids(steps)),
    Command.RELEASE_STOCK: lambda steps: stock.release(order_ids=_ids(steps)),
    Command.CANCEL_PAYMENT: lambda steps: payments.cancel(order_ids=_ids(steps)),
    Command.RELEASE_PAYMENT: lambda steps: payments.release(order_ids=_ids(steps)),
    Command.REFUND: _refund,
    Command.ASK_A_PERSON: _ask_a_person,
}


def _cancelled(each: Decided, *, refund_issued: bool) -> OrderCancelled:
    return OrderCancelled(
        order_id=each.order.pk,
        cancelled_by=each.state.cancelled_by,
        reason=each.state.reason,
        refund_issued=refund_issued,
    )


# What a command publishes.
_REPORTS: dict[Command, Callable[[Decided, tuple[Line, ...]], DomainEvent]] = {
    Command.REPORT_REVIEW: lambda each, _: OrderUnderReview(order_id=each.order.pk, reasons=each.reasons),
    Command.REPORT_PAID: lambda each, _: OrderPaid(
        order_id=each.order.pk, total=each.order.total, currency=each.order.currency
    ),
    Command.REPORT_ACCEPTED: lambda each, _: OrderAccepted(order_id=each.order.pk),
    Command.REQUEST_PICKLIST: lambda each, lines: PicklistRequested(order_id=each.order.pk, lines=lines),
    Command.WITHDRAW_PICKLIST: lambda each, _: PicklistWithdrawn(
        order_id=each.order.pk, reason=each.state.reason or each.because
    ),
    Command.REPORT_SHIPPED: lambda each, _: OrderShipped(
        order_id=each.order.pk, carrier=each.details.get("carrier", ""), tracking=each.details.get("tracking", "")
    ),
    Command.REPORT_FULFILLMENT_FAILED: lambda each, _: OrderFulfillmentFailed(
        order_id=each.order.pk, reason=each.state.reason
    ),
    Command.REPORT_PAYMENT_FAILED: lambda each, _: OrderPaymentFailed(order_id=each.order.pk, reason=each.state.reason),
    Command.REPORT_CANCELLED: lambda each, _: _cancelled(each, refund_issued=False),
    Command.REPORT_CANCELLED_WITH_REFUND: lambda each, _: _cancelled(each, refund_issued=True),
}
