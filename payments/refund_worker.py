"""The refund worker: the sister of the payments worker, for money that goes back."""

import logging
from collections.abc import Sequence
from typing import Any

from outbox import prepared
from outbox.crash_points import calling, crash_point
from outbox.events import DomainEvent
from outbox.worker import Engine
from payments import bank_caller, gateways, journal
from payments.admission import Asked
from payments.breaker import MONEY
from payments.events import RefundFailed, RefundProcessed
from payments.gateways.base import Answer, Body, Gateway
from payments.models import PaymentAttempt, Refund
from payments.refund_policy import Phase, Verdict, View, first_step, next_step, resting

logger = logging.getLogger(__name__)

RefundCall = bank_caller.BankCall[Refund, Phase]


class RefundCaller(bank_caller.BankCaller[Refund, Phase, View, Verdict]):
    model = Refund
    max_calls = 2  # refund, find
    learns = ("refund_id",)

    # --- decide -----------------------------------------------------------------------------------

    def _views(self, rows: Sequence[Refund]) -> dict[int, View]:
        known = [refund.pk for refund in rows if refund.attempts > 1 or refund.refund_id]
        uses = journal.uses_of_refunds(known)
        return {
            refund.pk: View(
                status=refund.status,
                refund_id=refund.refund_id,
                use=journal.key_use(uses.get(refund.key(), ())),
                attempts=refund.attempts,
                settle=self._settle,
            )
            for refund in rows
        }

    def _first(self, row: Refund, view: View) -> Asked[Refund, Phase] | Verdict:
        return self._asked(row, first_step(view))

    def _next(self, call: RefundCall, row: Refund, view: View, answer: Answer) -> Asked[Refund, Phase] | Verdict:
        if answer.refund is not None and not row.refund_id:
            row.refund_id = answer.refund.id
        step = next_step(view, call.step, answer)
        if not isinstance(step, Phase):
            return step
        return self._go_on(call, row, step) or Verdict(status=self._in_doubt(row), due_in=bank_caller.GO_ON_IN)

    def _resting(self, view: View) -> str:
        return resting(view)

    def _in_doubt(self, row: Refund) -> Refund.Status:
        return Refund.Status.UNKNOWN

    def _moves_money(self, row: Refund, step: Phase) -> bool:
        return step in MONEY

    # --- call -------------------------------------------------------------------------------------

    def _attempts(self, asked: Sequence[Asked[Refund, Phase]]) -> list[prepared.Row]:
        payments = Refund.objects.select_related("payment").in_bulk([each.row.pk for each in asked])
        attempts = []
        for each in asked:
            refund = each.row
            payment = refund.payment = payments[refund.pk].payment  # which the call needs, in a thread of the pool
            key = ""
            body: Body = {}
            if each.step is Phase.REFUND:
                key = refund.key()
                # Built from columns that never change: the same key always carries the same body.
                body = self._gateway.refund_body(
                    intent_id=payment.intent_id, refund=str(refund.public_id), amount=refund.amount
                )
            attempts.append(
                prepared.row(
                    PaymentAttempt,
                    payment_id=payment.pk,
                    refund_id=refund.pk,
                    phase=each.step,
                    key=key,
                    request=body,
                    card_no=payment.card_no,
                    worker=self._worker,
                )
            )
        return attempts

    def perform(self, call: RefundCall) -> Answer:
        crash_point("C2")
        refund = call.row
        with calling("C3" if call.step is Phase.REFUND else "B1"):
            match call.step:
                case Phase.REFUND:
                    return self._gateway.refund(key=call.attempt.key, body=call.attempt.request)
                case Phase.READ:
                    return self._gateway.retrieve_refund(refund_id=refund.refund_id)
                case Phase.FIND:
                    intent_id = refund.payment.intent_id
                    return self._gateway.find_refund(intent_id=intent_id, refund=str(refund.public_id))

    # --- record -----------------------------------------------------------------------------------

    def record(self, results: Sequence[tuple[RefundCall, Answer]]) -> list[RefundCall]:
        crash_point("C5")
        following = super().record(results)
        crash_point("C4")
        return following

    def _fields(self, row: Refund, verdict: Verdict) -> dict[str, Any]:
        return {"refund_id": row.refund_id, "failure_code": verdict.failure_code}

    def _facts(self, row: Refund, verdict: Verdict) -> Sequence[DomainEvent]:
        event = _event(row, verdict) if verdict.status != row.status else None
        return [event] if event else []


def make_engine(*, in_flight: int = 4, gateway: Gateway | None = None) -> Engine[RefundCall, Answer]:
    """The refund worker. Refunds are few: four calls at once leave the bank's limits to the payments."""
    caller = RefundCaller(gateway or gateways.make(connections=in_flight))
    return Engine(caller, in_flight=in_flight, name="refunds")


def _event(refund: Refund, verdict: Verdict) -> DomainEvent | None:
    payment = refund.payment
    match verdict.status:
        case Refund.Status.SUCCEEDED:
            return RefundProcessed(
                order_id=payment.order_id,
                payment_id=str(payment.public_id),
                amount=refund.amount,
                currency=refund.currency,
                refund_id=str(refund.public_id),
                reason=refund.reason,
            )
        case Refund.Status.FAILED:
            return RefundFailed(
                order_id=payment.order_id,
                payment_id=str(payment.public_id),
                amount=refund.amount,
                currency=refund.currency,
                refund_id=str(refund.public_id),
                code=verdict.failure_code,
            )
    return None
