"""The dispute worker: the third of its kind. It reads what a webhook has named, and tells the order."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from outbox import claims
from outbox.events import DomainEvent
from outbox.loops import process_name
from outbox.publisher import publish_all
from outbox.transport import calling
from outbox.worker import Engine
from payments import admission, gateways, journal, limiter
from payments.breaker import Told
from payments.dispute_policy import Verdict, View, first_step, next_step
from payments.events import DisputeClosed, DisputeOpened
from payments.gateways.base import Answer, BankDispute, Gateway, Outcome
from payments.models import Dispute, Payment, PaymentAttempt

logger = logging.getLogger(__name__)

Status = Dispute.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeCall:
    """The journalled reading of a claimed dispute. `dispute` is the row as it was claimed."""

    dispute: Dispute
    attempt_id: int


class DisputeCaller:
    """The `Caller` for disputes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = process_name()
        self._lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)

    def claim(self, *, limit: int) -> list[DisputeCall]:
        with transaction.atomic():
            room = admission.room(Dispute, limit=limit)
            disputes = claims.claim(Dispute, limit=room.limit, lease=self._lease, worker=self._worker)
            payments = _payments(disputes)
            calls = []
            for dispute in disputes:
                payment = payments[dispute.payment_id]
                early = first_step(_view(dispute, payment))
                if early is not None:
                    self._finish(dispute, payment, early, seen=dispute.nudges)
                    continue
                attempt = PaymentAttempt.objects.create(
                    payment=payment,
                    phase=PaymentAttempt.Phase.DISPUTE_READ,
                    card_no=payment.card_no,
                    worker=self._worker,
                )
                calls.append(DisputeCall(dispute=dispute, attempt_id=attempt.pk))
            limiter.give_back(room.limit - len(calls))
        return calls

    def perform(self, call: DisputeCall) -> Answer:
        with calling("B1"):
            return self._gateway.retrieve_dispute(dispute_id=call.dispute.dispute_id)

    def failed(self, call: DisputeCall, error: Exception) -> Answer:
        return Answer(outcome=Outcome.UNKNOWN, code="internal_error", message=f"{type(error).__name__}: {error}")

    def record(self, results: Sequence[tuple[DisputeCall, Answer]]) -> list[DisputeCall]:
        with transaction.atomic():
            held = claims.held(Dispute, [call.dispute for call, _ in results])
            payments = _payments(list(held.values()))
            for call, answer in results:
                dispute = held.get(call.dispute.pk)
                journal.close(call.attempt_id, answer, lost=dispute is None)
                if dispute is None:
                    logger.warning("action=claim_lost dispute=%s", call.dispute.pk)
                    continue
                payment = payments[dispute.payment_id]
                verdict = next_step(_view(dispute, payment), answer)
                self._finish(dispute, payment, verdict, seen=call.dispute.nudges)
            admission.proceed([Told(answer=answer, moves_money=False) for _, answer in results], [])
        return []

    def _finish(self, dispute: Dispute, payment: Payment, verdict: Verdict, *, seen: int) -> None:
        """Write the verdict by token and publish what it means. Raises ClaimLost."""
        claims.finish(
            dispute,
            status=verdict.status,
            seen=seen,
            due_in=verdict.due_in,
            blocked_reason=verdict.blocked_reason,
            closed_at=Now() if verdict.status == Status.CLOSED else None,
            **(_facts(verdict.shown) if verdict.shown else {}),
        )
        if verdict.blocked_reason:
            logger.error("action=blocked dispute=%s reason=%s", dispute.pk, verdict.blocked_reason)
        publish_all((event, dispute.context) for event in _events(dispute, payment, verdict))

    def unrecordable(self, call: DisputeCall, answer: Answer, error: Exception) -> None:
        with transaction.atomic():
            held = claims.held(Dispute, [call.dispute])
            journal.close(call.attempt_id, answer, lost=not held)
            for dispute in held.values():
                claims.finish(
                    dispute,
                    status=dispute.status,
                    seen=call.dispute.nudges,
                    due_in=None,
                    blocked_reason=f"our own error while recording what the bank says: {error!r}",
                )


def make_engine(*, in_flight: int = 2, gateway: Gateway | None = None) -> Engine[DisputeCall, Answer]:
    """The dispute worker. Disputes are rare: two calls at once leave the bank's limits to the payments."""
    caller = DisputeCaller(gateway or gateways.make(connections=in_flight))
    return Engine(caller, in_flight=in_flight, name="disputes")


def _payments(disputes: Sequence[Dispute]) -> dict[int, Payment]:
    return Payment.objects.in_bulk({dispute.payment_id for dispute in disputes})


def _view(dispute: Dispute, payment: Payment) -> View:
    return View(status=dispute.status, attempts=dispute.attempts, payment_settled=payment.settled_at is not None)


def _facts(shown: BankDispute) -> dict[str, Any]:
    return {
        "amount": shown.amount,
        "currency": shown.currency,
        "reason": shown.reason[:100],
        "bank_status": shown.status[:40],
        "refundable": shown.refundable,
        "opened_at": shown.opened_at,
    }


def _events(dispute: Dispute, payment: Payment, verdict: Verdict) -> list[DomainEvent]:
    """The facts to publish: that it was opened, once, and that it has ended."""
    shown = verdict.shown
    if shown is None:
        return []
    known: dict[str, Any] = {
        "order_id": payment.order_id,
        "payment_id": str(payment.public_id),
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
