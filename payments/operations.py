"""What people may do with payments, refunds and disputes."""

import uuid
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.conf import settings

from outbox import questions
from outbox.claim_operations import claim_operations, state
from outbox.operating import Fact, Operation, ReasonForm, Subject, locking, register
from outbox.questions import question_operations
from payments import bank_events, breaker, money, refunds
from payments.models import BankEvent, Breaker, Difference, Dispute, Payment, Refund

PERMISSION = "payments.operate_payment"


def _shown(row: Payment | Refund) -> str:
    return money.display(amount=row.amount, currency=row.currency)


# --- payments ---------------------------------------------------------------------------------------


class RefundForm(ReasonForm):
    """`amount` as people write it, at most what is left; `left` in minor units."""

    def __init__(self, data: Any, *, left: int, currency: str) -> None:
        super().__init__(data)
        digits = money.decimals(currency)
        unit = Decimal(1).scaleb(-digits)
        self.fields["amount"] = forms.DecimalField(
            min_value=unit,
            max_value=Decimal(left).scaleb(-digits),
            decimal_places=digits,
            initial=Decimal(left).scaleb(-digits).quantize(unit),
            label=f"Amount ({currency})",
            widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        )
        self.order_fields(["amount", "reason"])


class RefundPayment(Operation[Payment]):
    """Money goes back to the card that paid. The bank takes days to show it; it cannot be taken back."""

    name, label, permission = "refund", "Refund", "payments.refund_payment"
    expected = (refunds.NotRefundable,)

    def refusal(self, row: Payment, *, actor: str) -> str:
        if row.status != Payment.Status.SUCCEEDED:
            return f"Nothing was charged: the payment is {row.get_status_display().lower()}."
        if dispute := refunds.disputed(row):
            return dispute
        return "" if refunds.refundable(row) else "All of it was refunded."

    def facts(self, row: Payment) -> list[Fact]:
        left = money.display(amount=refunds.refundable(row), currency=row.currency)
        limit = settings.REFUND_APPROVAL_ABOVE
        above = money.display(amount=limit, currency=row.currency)
        return [("Can be refunded", left), *([("Second person", f"has to approve more than {above}")] if limit else [])]

    def form(self, row: Payment, data: Any = None) -> ReasonForm:
        return RefundForm(data, left=refunds.refundable(row), currency=row.currency)

    def perform(self, row: Payment, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        amount = int(values["amount"].scaleb(money.decimals(row.currency)))
        refund = refunds.request_refund(
            order_id=row.order_id,
            amount=amount,
            reason=values["reason"],
            request_token=f"operator:{token}",
            actor=actor,
            by_person=True,
        )
        waits = refund.status == Refund.Status.AWAITING_APPROVAL
        return f"A refund of {_shown(refund)} {'waits for a second person' if waits else 'is on its way'}."


register(
    Subject(
        model=Payment,
        operations=[RefundPayment(), *claim_operations(PERMISSION, story=lambda row: row.order_id, asks="the bank")],
        lock=locking(Payment),
        state=state,
        story=lambda row: row.order_id,
        rows=lambda story: Payment.objects.filter(order_id=story),
        facts=lambda row: [("Payment", f"{_shown(row)}, {row.get_status_display().lower()}")],
    )
)

# --- refunds ----------------------------------------------------------------------------------------


class _Approval(Operation[Refund]):
    permission = "payments.approve_refund"
    expected = (refunds.NotAwaitingApproval, refunds.SamePerson, refunds.Disputed)

    def refusal(self, row: Refund, *, actor: str) -> str:
        if row.status != Refund.Status.AWAITING_APPROVAL:
            return f"It is {row.get_status_display().lower()}: nothing waits for approval."
        return "You have asked for it yourself: another person decides." if row.requested_by == actor else ""


class Approve(_Approval):
    """Somebody else has asked for this refund; with your word the money goes back."""

    name, label = "approve", "Approve"

    def refusal(self, row: Refund, *, actor: str) -> str:
        return super().refusal(row, actor=actor) or refunds.disputed(row.payment)

    def perform(self, row: Refund, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        refunds.decide(refund_id=row.pk, approve=True, actor=actor, reason=values["reason"])
        return f"The refund of {_shown(row)} is on its way."


class Refuse(_Approval):
    """Somebody else has asked for this refund; it will not be made."""

    name, label = "refuse", "Refuse"

    def perform(self, row: Refund, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        refunds.decide(refund_id=row.pk, approve=False, actor=actor, reason=values["reason"])
        return f"The refund of {_shown(row)} will not be made."


def _lock_refund(pk: str) -> Refund | None:
    found = Refund.objects.filter(pk=pk).first()
    if found is None:
        return None
    Payment.objects.select_for_update(no_key=True).get(pk=found.payment_id)
    return locking(Refund)(pk)


def _refund_facts(row: Refund) -> list[Fact]:
    return [("Refund", f"{_shown(row)}, {row.get_status_display().lower()}"), ("Asked by", row.requested_by)]


register(
    Subject(
        model=Refund,
        operations=[
            Approve(),
            Refuse(),
            *claim_operations(PERMISSION, story=lambda row: row.payment.order_id, asks="the bank"),
        ],
        lock=_lock_refund,
        state=state,
        story=lambda row: row.payment.order_id,
        rows=lambda story: Refund.objects.filter(payment__order_id=story).select_related("payment").order_by("id"),
        facts=_refund_facts,
    )
)

# --- disputes ---------------------------------------------------------------------------------------

register(
    Subject(
        model=Dispute,
        operations=list(claim_operations(PERMISSION, story=lambda row: row.payment.order_id, asks="the bank")),
        lock=locking(Dispute),
        state=state,
        story=lambda row: row.payment.order_id,
        rows=lambda story: Dispute.objects.filter(payment__order_id=story).select_related("payment").order_by("id"),
        facts=lambda row: [("Dispute", f"{row.dispute_id}, {row.bank_status or row.status}")],
    )
)

# --- the breaker ------------------------------------------------------------------------------------


class _Switch(Operation[Breaker]):
    permission = PERMISSION
    expected = (breaker.AlreadySo,)
    becomes: ClassVar[Breaker.Status]

    def refusal(self, row: Breaker, *, actor: str) -> str:
        return f"It is {row.get_status_display().lower()}." if row.status == self.becomes else ""


class HoldOpen(_Switch):
    """Nothing is charged or refunded from now on, until somebody gives it back. Reading and cancelling go on; after a
    while the store takes no more orders."""

    name, label, becomes = "hold", "Hold it open", Breaker.Status.HELD_OPEN

    def perform(self, row: Breaker, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        breaker.hold_open(actor=actor, reason=values["reason"])
        return "Nothing is charged or refunded any more."


class ForceClosed(_Switch):
    """Charges and refunds flow from now on, whatever the bank answers, until somebody gives it back."""

    name, label, becomes = "force", "Force it closed", Breaker.Status.FORCED_CLOSED

    def perform(self, row: Breaker, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        breaker.force_closed(actor=actor, reason=values["reason"])
        return "Charges and refunds flow."


class Automatic(_Switch):
    """Charges and refunds flow as long as the bank's answers are good: the calls themselves decide again."""

    name, label, becomes = "automatic", "Back to automatic", Breaker.Status.CLOSED

    def refusal(self, row: Breaker, *, actor: str) -> str:
        by_hand = row.status in (Breaker.Status.HELD_OPEN, Breaker.Status.FORCED_CLOSED)
        return "" if by_hand else f"It is {row.get_status_display().lower()} by itself."

    def perform(self, row: Breaker, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        breaker.automatic(actor=actor, reason=values["reason"])
        return "The calls decide again."


register(
    Subject(
        model=Breaker,
        operations=[HoldOpen(), ForceClosed(), Automatic()],
        lock=locking(Breaker),
        state=lambda row: row.get_status_display().lower(),
        facts=lambda row: [("Gateway", row.gateway), ("Why", row.reason)],
    )
)

# --- differences ------------------------------------------------------------------------------------


class PayBack(Operation[Difference]):
    """The bank has charged for a payment that had ended without money: its order is over, the goods are free, and the
    customer was told so. All of it goes back to the card; payment and order stay as they are, and the difference closes
    by itself when the bank has sent it."""

    name, label, permission = "pay-back", "Pay it back", "payments.refund_payment"
    expected = (refunds.NotRefundable,)

    def refusal(self, row: Difference, *, actor: str) -> str:
        if row.resolved_at is not None:
            return f"It was {questions.state(row)}: {row.resolution}"
        return refunds.pay_back_refusal(row)

    def facts(self, row: Difference) -> list[Fact]:
        limit = settings.REFUND_APPROVAL_ABOVE
        if not 0 < limit < row.amount:
            return []
        above = money.display(amount=limit, currency=row.currency)
        return [("Second person", f"has to approve more than {above}")]

    def perform(self, row: Difference, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        refund = refunds.pay_back(
            difference=row, reason=values["reason"], request_token=f"operator:{token}", actor=actor
        )
        waits = refund.status == Refund.Status.AWAITING_APPROVAL
        return f"A refund of {_shown(refund)} {'waits for a second person' if waits else 'is on its way'}."


def _story(row: Difference) -> object:
    """Of a payment that is here: an order of the bank's metadata alone may be gone, and its number another's."""
    return row.payment.order_id if row.payment else ""


def _order(row: Difference) -> list[str]:
    return [row.reference, *([f"(id {row.order_id})"] if row.order_id else [])]


register(
    Subject(
        model=Difference,
        operations=[PayBack(), *question_operations("payments.resolve_difference", story=_story)],
        lock=locking(Difference),
        state=questions.state,
        story=_story,
        rows=lambda story: Difference.objects.filter(payment__order_id=story).select_related("payment").order_by("id"),
        facts=lambda row: [
            ("Difference", f"{row}, {money.display(amount=row.amount, currency=row.currency)}"),
            ("Order, as the bank knows it", " ".join(_order(row)) or "unknown"),
            ("Each side", row.detail),
        ],
    )
)

# --- what the bank told us ----------------------------------------------------------------------------


class SetAside(Operation[BankEvent]):
    """You know what it was about, and that it is nothing of ours: a charge of another system, a refund that somebody
    made by hand. Nothing else happens; it waits no longer."""

    name, label, permission = "set-aside", "Set it aside", "payments.resolve_difference"
    expected = (bank_events.NotUnmatched,)

    def refusal(self, row: BankEvent, *, actor: str) -> str:
        return "" if row.status == BankEvent.Status.UNMATCHED else f"It is {row.get_status_display().lower()}."

    def perform(self, row: BankEvent, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        bank_events.set_aside(event=row, actor=actor, reason=values["reason"])
        return "It is set aside."


register(
    Subject(
        model=BankEvent,
        operations=[SetAside()],
        lock=locking(BankEvent),
        state=lambda row: row.get_status_display().lower(),
        facts=lambda row: [
            ("Event", f"{row.type}, {row.event_id}"),
            ("About", " ".join(filter(None, [row.intent_id, row.refund_id, row.dispute_id]))),
            ("At", f"{row.created:%Y-%m-%d %H:%M:%S} UTC"),
        ],
    )
)
