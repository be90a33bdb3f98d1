"""The shop's part of an order's timeline: the log's events, screenings, people's decisions, the warehouse, open
concerns."""

from collections.abc import Iterable

from outbox.models import Decision, Event, OutboxRecord
from outbox.timeline import Entry, source
from payments.money import display
from shop.models import Concern, Screening, Shipment
from shop.process_managers import SHOPPER

# What a customer may read of the log, in the store's words; every other event is internal.
_FOR_CUSTOMERS = {
    "OrderPlaced": "We have your order",
    "InventoryUnavailable": "Sold out before we could hold it for you",
    "OrderUnderReview": "We are checking your order",
    "PaymentActionRequired": "Your bank asks you to confirm the payment",
    "PaymentDeclined": "Your card was declined",
    "OrderPaid": "Your payment has arrived",
    "OrderAccepted": "Your order is confirmed",
    "OrderShipped": "Your order is on its way",
    "OrderPaymentFailed": "The payment did not succeed, and nothing was charged",
    "OrderCancelled": "Your order was cancelled",
    "OrderFulfillmentFailed": "We could not deliver your order",
    "RefundProcessed": "We have sent {amount} back to your card",
    "RefundFailed": "The bank could not put {amount} on your card",
}


def for_customers(order_id: int) -> list[Entry]:
    """What `timeline(order_id, public=True)` finds, for the page that people look at most: only the sources here that
    have words for customers are asked."""
    entries = [entry for each in (events, decisions) for entry in each(order_id) if entry.public]
    return sorted(entries, key=lambda entry: entry.at)


@source
def events(order_id: int) -> Iterable[Entry]:
    """The log, and what is on its way there: it is as true, so the customer need not wait for the relay.

    The records are read first: one that is relayed between the two queries is found twice, and not never.
    """
    waiting = list(OutboxRecord.objects.filter(aggregateid=str(order_id)).order_by("seq"))
    logged = list(Event.objects.filter(aggregateid=str(order_id)).order_by("position"))
    for event in logged:
        yield _entry(event, source="log", place=f"at {event.position}")
    relayed = {event.id for event in logged}
    for record in waiting:
        if record.id not in relayed:
            yield _entry(record, source="outbox", place="not relayed to the log yet")


def _entry(event: Event | OutboxRecord, *, source: str, place: str) -> Entry:
    values = ", ".join(f"{name}={value}" for name, value in event.payload.items() if name != "order_id")
    return Entry(
        at=event.created_at,
        source=source,
        what=_what(event),
        who=event.headers.get("actor", ""),
        detail=f"{event.type} {place}: {values}",
        public=event.type in _FOR_CUSTOMERS,
    )


def _what(event: Event | OutboxRecord) -> str:
    said = _FOR_CUSTOMERS.get(event.type, event.type)
    if "{amount}" not in said:
        return said
    return said.format(amount=display(amount=event.payload["amount"], currency=event.payload["currency"]))


@source
def screenings(order_id: int) -> Iterable[Entry]:
    for screening in Screening.objects.filter(order=order_id):
        yield Entry(
            at=screening.created_at,
            source="screening",
            what="a service outside is to be asked",
            detail=f"reference {screening.public_id}",
        )
        if screening.settled_at is not None:
            yield Entry(
                at=screening.settled_at,
                source="screening",
                what=str(screening.status),
                who=screening.check_id,
                detail=f"calls: {screening.attempts}, the last one {screening.outcome}",
            )


@source
def decisions(order_id: int) -> Iterable[Entry]:
    for decision in Decision.objects.filter(aggregateid=str(order_id)).order_by("id"):
        change = f"{decision.kind} ({decision.subject}): {decision.before} → {decision.after}"
        theirs = decision.actor == SHOPPER
        yield Entry(
            at=decision.created_at,
            source="decision",
            what="You asked us to cancel your order" if theirs else change,
            who=decision.actor,
            detail=f"{change} ({decision.reason})" if theirs else decision.reason,
            public=theirs,
        )


@source
def warehouse(order_id: int) -> Iterable[Entry]:
    for shipment in Shipment.objects.filter(order=order_id):
        yield Entry(
            at=shipment.created_at,
            source="warehouse",
            what=shipment.kind,
            who=shipment.reported_by,
            detail=f"{shipment.reference} {shipment.carrier} {shipment.tracking}".strip(),
        )


@source
def concerns(order_id: int) -> Iterable[Entry]:
    for concern in Concern.objects.filter(order=order_id):
        yield Entry(
            at=concern.created_at, source="concern", what=f"a person is asked: {concern.kind}", detail=concern.detail
        )
        if concern.resolved_at is not None:
            yield Entry(
                at=concern.resolved_at,
                source="concern",
                what=f"resolved: {concern.kind}",
                who=concern.resolved_by,
                detail=concern.resolution,
            )
