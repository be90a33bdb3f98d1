"""The dispute worker: the third of its kind. It reads what a webhook has named, and tells the order."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from outbox import prepared
from outbox.crash_points import calling, crash_point
from outbox.events import DomainEvent
from outbox.worker import Engine
from payments import bank_caller, gateways
from payments.admission import Asked
from payments.dispute_policy import Verdict, View, first_step, next_step
from payments.events import DisputeClosed, DisputeOpened
from payments.gateways.base import Answer, BankDispute, Gateway
from payments.models import Dispute, Payment, PaymentAttempt

logger = logging.getLogger(__name__)

Status = Dispute.Status
# The only thing that is ever asked about one.
Read = Literal["read"]
DisputeCall = bank_caller.BankCall[Dispute, Read]


class DisputeCaller(bank_caller.BankCaller[Dispute, Read, View, Verdict]):
    model = Dispute

    def _views(self, rows: Sequence[Dispute]) -> dict[int, View]:
        payments = Payment.objects.in_bulk({dispute.payment_id for dispute in rows})
        views = {}
        for dispute in rows:
            dispute.payment = payments[dispute.payment_id]
            settled = dispute.payment.settled_at is not None
            views[dispute.pk] = View(status=dispute.status, attempts=dispute.attempts, payment_settled=settled)
        return views

    def _first(self, row: Dispute, view: View) -> Asked[Dispute, Read] | Verdict:
        return first_step(view) or self._asked(row, "read")

    def _next(self, call: DisputeCall, row: Dispute, view: View, answer: Answer) -> Asked[Dispute, Read] | Verdict:
        return next_step(view, answer)

    def _resting(self, view: View) -> str:
        return view.status

    def _in_doubt(self, row: Dispute) -> str:
        return row.status

    def _moves_money(self, row: Dispute, step: Read) -> bool:
        return False

    def _attempts(self, asked: Sequence[Asked[Dispute, Read]]) -> list[prepared.Row]:
        return [
            prepared.row(
                PaymentAttempt,
                payment_id=each.row.payment_id,
                phase=PaymentAttempt.Phase.DISPUTE_READ,
                card_no=each.row.payment.card_no,
                worker=self._worker,
            )
            for each in asked
        ]

    def perform(self, call: DisputeCall) -> Answer:
        with calling("G1"):
            return self._gateway.retrieve_dispute(dispute_id=call.row.dispute_id)

    def record(self, results: Sequence[tuple[DisputeCall, Answer]]) -> list[DisputeCall]:
        crash_point("G2")
        following = super().record(results)
        crash_point("G3")
        return following

    def _fields(self, row: Dispute, verdict: Verdict) -> dict[str, Any]:
        return _columns(verdict.shown) if verdict.shown else {name: getattr(row, name) for name in _SHOWN}

    def _facts(self, row: Dispute, verdict: Verdict) -> Sequence[DomainEvent]:
        return _events(row, verdict)


def make_engine(*, in_flight: int = 2, gateway: Gateway | None = None) -> Engine[DisputeCall, Answer]:
    """The dispute worker. Disputes are rare: two calls at once leave the bank's limits to the payments."""
    caller = DisputeCaller(gateway or gateways.make(connections=in_flight))
    return Engine(caller, in_flight=in_flight, name="disputes")


# What the bank tells of a dispute.
_SHOWN = ("amount", "currency", "reason", "bank_status", "refundable", "opened_at")


def _columns(shown: BankDispute) -> dict[str, Any]:
    return {
        "amount": shown.amount,
        "currency": shown.currency,
        "reason": shown.reason[:100],
        "bank_status": shown.status[:40],
        "refundable": shown.refundable,
        "opened_at": shown.opened_at,
    }


def _events(dispute: Dispute, verdict: Verdict) -> list[DomainEvent]:
    """The facts to publish: that it was opened, once, and that it has ended."""
    shown = verdict.shown
    if shown is None:
        return []
    known: dict[str, Any] = {
        "order_id": dispute.payment.order_id,
        "payment_id": str(dispute.payment.public_id),
        "amount": shown.amount,
        "currency": shown.currency,
        "dispute_id": dispute.dispute_id,
    }
    events: list[DomainEvent] = []
    if dispute.status == Status.UNREAD:
        events.append(DisputeOpened(**known, reason=shown.reason))
    if verdict.status == Status.CLOSED:
        events.append(DisputeClosed(**known, outcome=shown.status))
    return events
