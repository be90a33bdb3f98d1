"""The order process: given these facts, expect these commands."""

from collections.abc import Callable
from typing import Any

import pytest

from outbox.events import DomainEvent
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
from shop import process_managers as process
from shop.acceptance import Verdict
from shop.events import OrderPlaced
from shop.models import Order
from shop.process_managers import Command as C
from shop.process_managers import NotPossible, OrderProcess, Step, apply

Status = Order.Status
MONEY: dict[str, Any] = {"order_id": 1, "payment_id": "p", "amount": 100, "currency": "EUR"}
PLACED = OrderPlaced(order_id=1, total=100, currency="EUR", lines=())
PROCESSED = PaymentProcessed(**MONEY, intent_id="pi")
DECLINED = PaymentDeclined(**MONEY, card_no=1, code="card_declined")
ACTION = PaymentActionRequired(**MONEY, card_no=1)
CANCELED = PaymentCanceled(**MONEY, code="requested")
FAILED = PaymentFailed(**MONEY, code="expired")
REFUND_FAILED = RefundFailed(**MONEY, refund_id="r", code="lost")
DISPUTED = DisputeOpened(**MONEY, dispute_id="d", reason="fraudulent")
WON = DisputeClosed(**MONEY, dispute_id="d", outcome="won")
LOST = DisputeClosed(**MONEY, dispute_id="d", outcome="lost")

Fact = DomainEvent | Callable[[OrderProcess], Step]

ACCEPTED = [C.STOP_HOLD_CLOCK, C.REPORT_PAID, C.REPORT_ACCEPTED, C.REQUEST_PICKLIST]
REFUNDED = [C.RELEASE_STOCK, C.REFUND, C.REPORT_CANCELLED_WITH_REFUND]


def cancel(state: OrderProcess) -> Step:
    return process.cancelled(state, by="shopper", reason="changed_mind")


def accept(state: OrderProcess) -> Step:
    return process.reviewed(state, accepted=True, by="operator")


def reject(state: OrderProcess) -> Step:
    return process.reviewed(state, accepted=False, by="operator")


def given(*facts: Fact, verdict: Verdict = Verdict.ACCEPT) -> tuple[OrderProcess, list[C]]:
    """The state after all facts, and the commands of the last."""
    state = OrderProcess(status=Status.PLACED)
    last: list[C] = []
    for fact in facts:
        state, commands = apply(state, fact, verdict=verdict) if isinstance(fact, DomainEvent) else fact(state)
        last = list(commands)
    return state, last


@pytest.mark.parametrize(
    ("facts", "status", "commands"),
    [
        ([PLACED], "awaiting_payment", [C.RELEASE_PAYMENT]),
        ([PLACED, PROCESSED], "accepted", ACCEPTED),
        ([PLACED, DECLINED], "payment_declined", [C.START_HOLD_CLOCK]),
        ([PLACED, DECLINED, process.card_given], "awaiting_payment", [C.STOP_HOLD_CLOCK]),
        ([PLACED, DECLINED, process.card_given, PROCESSED], "accepted", ACCEPTED),
        ([PLACED, ACTION], "action_required", [C.START_HOLD_CLOCK]),
        ([PLACED, ACTION, PROCESSED], "accepted", ACCEPTED),
        ([PLACED, ACTION, DECLINED], "payment_declined", [C.START_HOLD_CLOCK]),
        # The hold's end: asked first, final only with the bank's answer, and a late success still counts.
        ([PLACED, ACTION, process.hold_expired], "cancelling", [C.STOP_HOLD_CLOCK, C.CANCEL_PAYMENT]),
        (
            [PLACED, DECLINED, process.hold_expired, CANCELED],
            "payment_failed",
            [C.STOP_HOLD_CLOCK, C.RELEASE_STOCK, C.REPORT_PAYMENT_FAILED],
        ),
        ([PLACED, ACTION, process.hold_expired, PROCESSED], "accepted", ACCEPTED),
        ([PLACED, process.hold_expired], "awaiting_payment", []),
        ([PLACED, FAILED], "payment_failed", [C.STOP_HOLD_CLOCK, C.RELEASE_STOCK, C.REPORT_PAYMENT_FAILED]),
        # Cancelled by a person.
        ([PLACED, cancel], "cancelling", [C.STOP_HOLD_CLOCK, C.CANCEL_PAYMENT]),
        ([PLACED, cancel, CANCELED], "cancelled", [C.RELEASE_STOCK, C.REPORT_CANCELLED]),
        ([PLACED, cancel, PROCESSED], "cancelled", [C.REPORT_PAID, *REFUNDED]),
        ([PLACED, PROCESSED, cancel], "cancelling", [C.WITHDRAW_PICKLIST]),
        ([PLACED, PROCESSED, cancel, process.withdrawn], "cancelled", REFUNDED),
        ([PLACED, PROCESSED, cancel, process.short], "cancelled", REFUNDED),
        ([PLACED, PROCESSED, cancel, process.shipped], "shipped", [C.CONSUME_STOCK, C.REPORT_SHIPPED]),
        # The warehouse.
        ([PLACED, PROCESSED, process.shipped], "shipped", [C.CONSUME_STOCK, C.REPORT_SHIPPED]),
        ([PLACED, PROCESSED, process.shipped, process.shipped], "shipped", []),
        (
            [PLACED, PROCESSED, process.short],
            "fulfillment_failed",
            [C.RELEASE_STOCK, C.REFUND, C.REPORT_FULFILLMENT_FAILED],
        ),
        # A machine never sends money after goods that have left.
        (
            [PLACED, PROCESSED, cancel, process.withdrawn, process.shipped],
            "cancelled",
            [C.CONSUME_STOCK, C.ASK_A_PERSON],
        ),
        ([PLACED, process.shipped], "awaiting_payment", [C.CONSUME_STOCK, C.ASK_A_PERSON]),
        ([PLACED, PROCESSED, process.shipped, process.withdrawn], "shipped", []),
        ([PLACED, PROCESSED, process.withdrawn], "accepted", [C.ASK_A_PERSON]),
        # Money that the bank had said could not come.
        ([PLACED, cancel, CANCELED, PROCESSED], "cancelled", [C.REPORT_PAID, C.REFUND, C.ASK_A_PERSON]),
        ([PLACED, PROCESSED, REFUND_FAILED], "accepted", [C.ASK_A_PERSON]),
        # Disputes hold what has not left.
        ([PLACED, PROCESSED, DISPUTED], "on_hold", [C.WITHDRAW_PICKLIST, C.ASK_A_PERSON]),
        ([PLACED, PROCESSED, DISPUTED, process.withdrawn], "on_hold", []),
        ([PLACED, PROCESSED, DISPUTED, process.withdrawn, WON], "accepted", [C.REQUEST_PICKLIST]),
        (
            [PLACED, PROCESSED, DISPUTED, process.withdrawn, LOST],
            "cancelled",
            [C.RELEASE_STOCK, C.REPORT_CANCELLED],
        ),
        ([PLACED, PROCESSED, DISPUTED, process.shipped], "shipped", [C.CONSUME_STOCK, C.REPORT_SHIPPED]),
        ([PLACED, PROCESSED, process.shipped, DISPUTED], "shipped", [C.ASK_A_PERSON]),
        (
            [PLACED, PROCESSED, cancel, DISPUTED, process.withdrawn],
            "cancelled",
            [C.RELEASE_STOCK, C.ASK_A_PERSON, C.REPORT_CANCELLED],
        ),
    ],
)
def test_given_expect(facts: list[Fact], status: str, commands: list[C]) -> None:
    state, issued = given(*facts)
    assert (state.status, issued) == (status, commands)


@pytest.mark.parametrize("fact", [PLACED, PROCESSED, CANCELED, DISPUTED])
def test_a_fact_told_twice_says_nothing_new(fact: DomainEvent) -> None:
    stories: dict[DomainEvent, list[DomainEvent]] = {
        PLACED: [],
        PROCESSED: [PLACED],
        CANCELED: [PLACED],
        DISPUTED: [PLACED, PROCESSED],
    }
    story = stories[fact]
    once, _ = given(*story, fact)
    twice = given(*story, fact, fact)
    assert twice == (once, [])


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        ([PLACED, PROCESSED, process.shipped], cancel),
        ([PLACED, cancel], cancel),
        ([PLACED, FAILED], cancel),
        ([PLACED, PROCESSED, DISPUTED], cancel),
        ([PLACED], process.card_given),
        ([PLACED, DECLINED, process.card_given], process.card_given),
        ([PLACED, cancel], process.card_given),
        ([PLACED], accept),
        ([PLACED], reject),
    ],
)
def test_too_late_is_said(facts: list[Fact], step: Callable[[OrderProcess], Step]) -> None:
    state, _ = given(*facts)
    with pytest.raises(NotPossible):
        step(state)


def test_an_order_under_review_charges_nobody() -> None:
    state, commands = given(PLACED, verdict=Verdict.REVIEW)
    assert (state.status, commands) == (Status.UNDER_REVIEW, [C.REPORT_REVIEW])
    accepted, then = accept(state)
    assert (accepted.status, list(then)) == (Status.AWAITING_PAYMENT, [C.RELEASE_PAYMENT])
    rejected, then = reject(state)
    assert (rejected.status, list(then)) == (Status.CANCELLING, [C.CANCEL_PAYMENT])


def test_a_rejected_order_waits_for_its_payment_to_end() -> None:
    state, commands = given(PLACED, verdict=Verdict.REJECT)
    assert (state.status, commands) == (Status.CANCELLING, [C.CANCEL_PAYMENT])
    state, then = apply(state, CANCELED)
    assert (state.status, list(then)) == (Status.CANCELLED, [C.RELEASE_STOCK, C.REPORT_CANCELLED])


def test_the_state_survives_storage() -> None:
    for facts in ([PLACED], [PLACED, PROCESSED, DISPUTED], [PLACED, PROCESSED, cancel]):
        state, _ = given(*facts)
        assert OrderProcess.load(status=state.status, stored=state.dump()) == state
