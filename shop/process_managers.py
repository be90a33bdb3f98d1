"""The order process: a pure function from (state, fact) to (state, commands).

Nothing here touches a database. `shop.acting` loads the state under the order's lock, applies facts (events of the
log, decisions of people, answers of the warehouse) and acts out the commands in the same transaction.
"""

import enum
from collections.abc import Sequence
from typing import Any, Self

import msgspec
from msgspec.structs import replace

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
from shop.acceptance import Verdict
from shop.events import OrderPlaced
from shop.models import Order

Status = Order.Status

# Raised when a stored state's shape changes; older ones are upgraded in `OrderProcess.load`.
STATE_VERSION = 1

# Who may ask for an order's end.
SHOPPER, OPERATOR, SYSTEM = "shopper", "operator", "system"
HOLD_EXPIRED = "hold_expired"


_STORED = ("cancelled_by", "reason", "paid", "picking", "disputed")


class OrderProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order stands. `cancelled_by` and `reason` are set when somebody has asked for its end; `picking`
    is true from the picklist's request until the warehouse has answered."""

    status: Status
    cancelled_by: str = ""
    reason: str = ""
    paid: bool = False
    picking: bool = False
    disputed: bool = False

    @classmethod
    def load(cls, *, status: str, stored: dict[str, Any]) -> Self:
        """From the order's columns; a state never stored is the beginning."""
        return cls(status=Status(status), **{name: stored[name] for name in _STORED if name in stored})

    def dump(self) -> dict[str, Any]:
        # The status is a column of its own.
        return {"version": STATE_VERSION, **{name: getattr(self, name) for name in _STORED}}


class Command(enum.Enum):
    """What the process wants done; `shop.acting` acts it out, set-based, in the same transaction."""

    RELEASE_PAYMENT = "release_payment"
    CANCEL_PAYMENT = "cancel_payment"
    START_HOLD_CLOCK = "start_hold_clock"
    STOP_HOLD_CLOCK = "stop_hold_clock"
    RELEASE_STOCK = "release_stock"
    CONSUME_STOCK = "consume_stock"
    REFUND = "refund"
    ASK_A_PERSON = "ask_a_person"
    REPORT_REVIEW = "report_review"
    REPORT_PAID = "report_paid"
    REPORT_ACCEPTED = "report_accepted"
    REQUEST_PICKLIST = "request_picklist"
    WITHDRAW_PICKLIST = "withdraw_picklist"
    REPORT_SHIPPED = "report_shipped"
    REPORT_FULFILLMENT_FAILED = "report_fulfillment_failed"
    REPORT_PAYMENT_FAILED = "report_payment_failed"
    REPORT_CANCELLED = "report_cancelled"
    REPORT_CANCELLED_WITH_REFUND = "report_cancelled_with_refund"


Step = tuple[OrderProcess, Sequence[Command]]

# Statuses in which the store still waits for the money.
UNPAID = frozenset({Status.AWAITING_PAYMENT, Status.ACTION_REQUIRED, Status.PAYMENT_DECLINED})
# Those of them in which the customer has to do something, while the hold's clock runs.
WAITING_FOR_CUSTOMER = frozenset({Status.ACTION_REQUIRED, Status.PAYMENT_DECLINED})
# Those in which a person may still ask for the order's end.
CANCELLABLE = frozenset({Status.PLACED, Status.UNDER_REVIEW, *UNPAID, Status.ACCEPTED})
# Ends without delivery.
ENDED = frozenset({Status.CANCELLED, Status.PAYMENT_FAILED, Status.FULFILLMENT_FAILED})
_NOTHING: Sequence[Command] = ()


class NotPossible(Exception):
    """The order is past the point where this could be done; the message says where it is."""


def apply(state: OrderProcess, event: DomainEvent, *, verdict: Verdict = Verdict.ACCEPT) -> Step:
    """The next state and what to do about a fact of the log. One that says nothing new changes nothing.

    `verdict` is that of the acceptance rules, looked up by the caller for OrderPlaced only.
    """
    match event:
        case OrderPlaced():
            return _placed(state, verdict)
        case PaymentProcessed():
            return _charged(state)
        case PaymentActionRequired() if state.status in UNPAID:
            return replace(state, status=Status.ACTION_REQUIRED), (Command.START_HOLD_CLOCK,)
        case PaymentDeclined() if state.status in UNPAID:
            return replace(state, status=Status.PAYMENT_DECLINED), (Command.START_HOLD_CLOCK,)
        case PaymentCanceled() | PaymentFailed():
            return _ended_without_money(state, event.code)
        case RefundFailed():
            return state, (Command.ASK_A_PERSON,)
        case DisputeOpened():
            return _disputed(state)
        case DisputeClosed():
            return _dispute_closed(state, won=event.outcome != "lost")
    return state, _NOTHING


# --- acceptance -----------------------------------------------------------------------------------


def _placed(state: OrderProcess, verdict: Verdict) -> Step:
    if state.status is not Status.PLACED:
        return state, _NOTHING
    match verdict:
        case Verdict.ACCEPT:
            return replace(state, status=Status.AWAITING_PAYMENT), (Command.RELEASE_PAYMENT,)
        case Verdict.REVIEW:
            return replace(state, status=Status.UNDER_REVIEW), (Command.REPORT_REVIEW,)
        case Verdict.REJECT:
            return _stop(state, by=SYSTEM, reason="rejected"), (Command.CANCEL_PAYMENT,)


def reviewed(state: OrderProcess, *, accepted: bool, by: str) -> Step:
    """A person, or a slow check, has decided about an order under review. Raises NotPossible."""
    if state.status is not Status.UNDER_REVIEW:
        raise NotPossible(f"The order is {state.status.label}: there is nothing to review any more.")
    if accepted:
        return replace(state, status=Status.AWAITING_PAYMENT), (Command.RELEASE_PAYMENT,)
    return _stop(state, by=by, reason="rejected"), (Command.CANCEL_PAYMENT,)


# --- money ----------------------------------------------------------------------------------------


def _charged(state: OrderProcess) -> Step:
    if state.paid:
        return state, _NOTHING
    paid = replace(state, paid=True)
    asked_by_person = state.status is Status.CANCELLING and state.reason != HOLD_EXPIRED
    if asked_by_person:
        return replace(paid, status=Status.CANCELLED), (Command.REPORT_PAID, *_cancelled_after_money(state))
    if state.status in ENDED:
        # The bank had said that nothing can be charged. It was: the money goes back, and a person learns of it.
        return paid, (Command.REPORT_PAID, Command.REFUND, Command.ASK_A_PERSON)
    # Also when the hold had expired: the goods are still held until the bank has answered, so they are theirs.
    return replace(paid, status=Status.ACCEPTED, picking=True, reason="", cancelled_by=""), (
        Command.STOP_HOLD_CLOCK,
        Command.REPORT_PAID,
        Command.REPORT_ACCEPTED,
        Command.REQUEST_PICKLIST,
    )


def _ended_without_money(state: OrderProcess, code: str) -> Step:
    """The bank has said that nothing can be charged any more: only now are the goods free."""
    if state.paid or state.status in ENDED:
        return state, _NOTHING
    if state.status is Status.CANCELLING and state.reason != HOLD_EXPIRED:
        return replace(state, status=Status.CANCELLED), (Command.RELEASE_STOCK, Command.REPORT_CANCELLED)
    failed = replace(state, status=Status.PAYMENT_FAILED, reason=state.reason or code)
    return failed, (Command.STOP_HOLD_CLOCK, Command.RELEASE_STOCK, Command.REPORT_PAYMENT_FAILED)


def card_given(state: OrderProcess) -> Step:
    """The customer has given another card. Raises NotPossible."""
    if state.status is not Status.PAYMENT_DECLINED:
        raise NotPossible(f"The order is {state.status.label}: it does not wait for another card.")
    return replace(state, status=Status.AWAITING_PAYMENT), (Command.STOP_HOLD_CLOCK,)


def hold_expired(state: OrderProcess) -> Step:
    """The clock has run out. The goods stay held until the bank has said that nothing can be charged."""
    if state.status not in WAITING_FOR_CUSTOMER:
        return state, _NOTHING
    return _stop(state, by=SYSTEM, reason=HOLD_EXPIRED), (Command.STOP_HOLD_CLOCK, Command.CANCEL_PAYMENT)


# --- cancelling -----------------------------------------------------------------------------------


def cancelled(state: OrderProcess, *, by: str, reason: str) -> Step:
    """A person wants the order to end. Before the money it ends with the bank's answer, after it with the
    warehouse's; what has shipped is not cancelled by a machine. Raises NotPossible."""
    if state.status not in CANCELLABLE:
        raise NotPossible(f"The order is {state.status.label}: it can no longer be cancelled.")
    if state.status is Status.ACCEPTED:
        return _stop(state, by=by, reason=reason), (Command.WITHDRAW_PICKLIST,)
    return _stop(state, by=by, reason=reason), (Command.STOP_HOLD_CLOCK, Command.CANCEL_PAYMENT)


def _stop(state: OrderProcess, *, by: str, reason: str) -> OrderProcess:
    return replace(state, status=Status.CANCELLING, cancelled_by=by, reason=reason)


# --- the warehouse's answers ----------------------------------------------------------------------


def shipped(state: OrderProcess) -> Step:
    """The goods have left. Too late for a cancellation, which is then void; a fact in any case."""
    match state.status:
        case Status.SHIPPED:
            return state, _NOTHING
        case Status.ACCEPTED | Status.ON_HOLD | Status.CANCELLING if state.paid:
            gone = replace(state, status=Status.SHIPPED, picking=False)
            return gone, (Command.CONSUME_STOCK, Command.REPORT_SHIPPED)
    # Goods have left for an order that had ended or was never paid: no machine sends money after that.
    return replace(state, picking=False), (Command.CONSUME_STOCK, Command.ASK_A_PERSON)


def short(state: OrderProcess) -> Step:
    """The warehouse cannot find the goods: the customer gets the money back."""
    if not state.picking:
        return state, (Command.ASK_A_PERSON,)
    if state.status is Status.CANCELLING:
        return _withdrawn(state)
    if state.status is Status.ON_HOLD:
        return replace(state, picking=False), (Command.ASK_A_PERSON,)
    failed = replace(state, status=Status.FULFILLMENT_FAILED, reason="short", picking=False)
    money = Command.ASK_A_PERSON if state.disputed else Command.REFUND
    return failed, (Command.RELEASE_STOCK, money, Command.REPORT_FULFILLMENT_FAILED)


def withdrawn(state: OrderProcess) -> Step:
    """The warehouse will not ship."""
    if not state.picking:
        return state, _NOTHING
    if state.status is Status.CANCELLING:
        return _withdrawn(state)
    if state.status is Status.ON_HOLD:
        return replace(state, picking=False), _NOTHING
    return replace(state, picking=False), (Command.ASK_A_PERSON,)  # nobody had asked for it


def _withdrawn(state: OrderProcess) -> Step:
    return replace(state, status=Status.CANCELLED, picking=False), _cancelled_after_money(state)


def _cancelled_after_money(state: OrderProcess) -> Sequence[Command]:
    """The money goes back, unless the customer's bank is fetching it already: that is for a person."""
    if state.disputed:
        return Command.RELEASE_STOCK, Command.ASK_A_PERSON, Command.REPORT_CANCELLED
    return Command.RELEASE_STOCK, Command.REFUND, Command.REPORT_CANCELLED_WITH_REFUND


# --- disputes -------------------------------------------------------------------------------------


def _disputed(state: OrderProcess) -> Step:
    """The customer's bank wants the money back: what has not left stays here until that is decided."""
    if state.disputed:
        return state, _NOTHING
    disputed = replace(state, disputed=True)
    if state.status is Status.ACCEPTED:
        return replace(disputed, status=Status.ON_HOLD), (Command.WITHDRAW_PICKLIST, Command.ASK_A_PERSON)
    return disputed, (Command.ASK_A_PERSON,)


def _dispute_closed(state: OrderProcess, *, won: bool) -> Step:
    if not state.disputed:
        return state, _NOTHING
    closed = replace(state, disputed=False)
    if state.status is not Status.ON_HOLD:
        return closed, _NOTHING
    if state.picking:
        # The warehouse has not answered the withdrawal yet: a person joins the two when it has.
        return closed, (Command.ASK_A_PERSON,)
    if won:
        return replace(closed, status=Status.ACCEPTED, picking=True), (Command.REQUEST_PICKLIST,)
    lost = replace(closed, status=Status.CANCELLED, cancelled_by=SYSTEM, reason="dispute_lost")
    return lost, (Command.RELEASE_STOCK, Command.REPORT_CANCELLED)
