"""The payments worker: what the calls for a payment are, and what becomes of it."""

import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from outbox import claims, prepared
from outbox.crash_points import calling, crash_point
from outbox.events import DomainEvent
from outbox.worker import Engine
from payments import bank_caller, gateways, journal, services
from payments.admission import Asked
from payments.breaker import MONEY
from payments.events import PaymentActionRequired, PaymentDeclined, PaymentFailed, PaymentProcessed
from payments.gateways.base import Answer, Body, Gateway
from payments.models import Payment, PaymentAttempt
from payments.policy import Call, Phase, Verdict, View, first_step, next_step, resting

logger = logging.getLogger(__name__)

BankCall = bank_caller.BankCall[Payment, Call]

_SENT = {Phase.CREATE: "P2", Phase.CONFIRM: "P5", Phase.CANCEL: "X2", Phase.RETRIEVE: "B1"}
_RECEIVED = {Phase.CREATE: "P3", Phase.CONFIRM: "P6", Phase.CANCEL: "P6", Phase.RETRIEVE: "P6"}


class PaymentCaller(bank_caller.BankCaller[Payment, Call, View, Verdict]):
    model = Payment
    max_calls = 4  # create, confirm, read, confirm again
    learns = ("intent_id",)

    # --- decide -----------------------------------------------------------------------------------

    def _views(self, rows: Sequence[Payment]) -> dict[int, View]:
        """The journal is read once for all payments that have one."""
        known = [payment.pk for payment in rows if payment.attempts > 1 or payment.intent_id or payment.generation]
        uses = journal.uses_of_payments(known)
        return {payment.pk: self._view(payment, uses) for payment in rows}

    def _view(self, payment: Payment, uses: journal.Uses) -> View:
        return View(
            status=payment.status,
            intent_id=payment.intent_id,
            create=journal.key_use(uses.get(payment.create_key(), ())),
            confirm=journal.key_use(uses.get(payment.confirm_key(), ())),
            latest_charge=payment.latest_charge,
            payment_method=payment.payment_method,
            attempts=payment.attempts,
            settle=self._settle,
        )

    def _first(self, row: Payment, view: View) -> Asked[Payment, Call] | Verdict:
        step = first_step(view)
        return self._asked(row, step) if isinstance(step, Call) else step

    def _next(self, call: BankCall, row: Payment, view: View, answer: Answer) -> Asked[Payment, Call] | Verdict:
        if answer.intent is not None and not row.intent_id:
            # As soon as it is known: from now on the intent itself says what happened.
            row.intent_id = answer.intent.id
        step = next_step(view, call.step.phase, answer)
        if not isinstance(step, Call):
            return step
        return self._go_on(call, row, step) or Verdict(status=self._in_doubt(row), due_in=bank_caller.GO_ON_IN)

    def _resting(self, view: View) -> str:
        return resting(view)

    def _in_doubt(self, row: Payment) -> Payment.Status:
        stays = row.status in (Payment.Status.CANCELING, Payment.Status.DECLINED)
        return Payment.Status(row.status) if stays else Payment.Status.UNKNOWN

    def _moves_money(self, row: Payment, step: Call) -> bool:
        # An intent that is created only to be canceled moves no money.
        return step.phase in MONEY and row.status != Payment.Status.CANCELING

    # --- call -------------------------------------------------------------------------------------

    def claim(self, *, limit: int) -> list[BankCall]:
        calls = super().claim(limit=limit)
        if calls:
            crash_point("P1")
        return calls

    def _attempts(self, asked: Sequence[Asked[Payment, Call]]) -> list[prepared.Row]:
        renewed = [each.row for each in asked if each.step.renew]
        for row in renewed:
            row.generation += 1
        claims.note(renewed, "generation")
        return [
            prepared.row(
                PaymentAttempt,
                payment_id=each.row.pk,
                phase=each.step.phase,
                key=self._key(each.row, each.step.phase),
                request=self._body(each.row, each.step.phase),
                card_no=each.row.card_no,
                worker=self._worker,
            )
            for each in asked
        ]

    @staticmethod
    def _key(payment: Payment, phase: Phase) -> str:
        match phase:
            case Phase.CREATE:
                return payment.create_key()
            case Phase.CONFIRM:
                return payment.confirm_key()
            case Phase.CANCEL:
                # Canceling twice does no harm, while an old refusal must not be replayed: a key for each claim.
                return f"payment:{payment.public_id}:cancel:{payment.attempts}"
        return ""

    def _body(self, payment: Payment, phase: Phase) -> Body:
        match phase:
            case Phase.CREATE:
                return self._gateway.create_body(
                    order_id=payment.order_id,
                    payment=str(payment.public_id),
                    reference=payment.reference,
                    amount=payment.amount,
                    currency=payment.currency,
                )
            case Phase.CONFIRM:
                return self._gateway.confirm_body(payment_method=payment.payment_method, return_url=payment.return_url)
        return {}

    def perform(self, call: BankCall) -> Answer:
        intent_id, key, body = call.row.intent_id, call.attempt.key, call.attempt.request
        with calling(_SENT[call.step.phase]):
            match call.step.phase:
                case Phase.CREATE:
                    return self._gateway.create(key=key, body=body)
                case Phase.CONFIRM:
                    return self._gateway.confirm(intent_id=intent_id, key=key, body=body)
                case Phase.RETRIEVE:
                    return self._gateway.retrieve(intent_id=intent_id)
                case Phase.CANCEL:
                    return self._gateway.cancel(intent_id=intent_id, key=key)

    # --- record -----------------------------------------------------------------------------------

    def record(self, results: Sequence[tuple[BankCall, Answer]]) -> list[BankCall]:
        phases = {call.step.phase for call, _ in results}
        for point in {_RECEIVED[phase] for phase in phases}:
            crash_point(point)
        following = super().record(results)
        for point in {"P4" if phase is Phase.CREATE else "P7" for phase in phases}:
            crash_point(point)
        if Phase.CANCEL in phases:
            crash_point("X3")
        return following

    def _fields(self, row: Payment, verdict: Verdict) -> dict[str, Any]:
        intent, final = verdict.intent, verdict.status in Payment.FINAL
        # A declined one that was only read keeps what its page says.
        keeps = verdict.status == row.status == Payment.Status.DECLINED
        return {
            "intent_id": row.intent_id,
            "latest_charge": intent.latest_charge if intent else row.latest_charge,
            "failure_code": row.failure_code if keeps else verdict.failure_code,
            "action_url": intent.action_url if intent and not final else "",
        }

    def _facts(self, row: Payment, verdict: Verdict) -> Sequence[DomainEvent]:
        event = _event(row, verdict)
        return [event] if event else []


def make_engine(*, in_flight: int | None = None, gateway: Gateway | None = None) -> Engine[BankCall, Answer]:
    """The payments worker, with so many calls under way at once (PAYMENT_IN_FLIGHT)."""
    number = in_flight or settings.PAYMENT_IN_FLIGHT
    caller = PaymentCaller(gateway or gateways.make(connections=number))
    return Engine(caller, in_flight=number, name="payments")


def _event(payment: Payment, verdict: Verdict) -> DomainEvent | None:
    """The fact to publish; None when the status did not change for others."""
    if verdict.status == payment.status and not verdict.failure_code:
        return None
    known: dict[str, Any] = {
        "order_id": payment.order_id,
        "payment_id": str(payment.public_id),
        "amount": payment.amount,
        "currency": payment.currency,
    }
    match verdict.status:
        case Payment.Status.SUCCEEDED:
            return PaymentProcessed(**known, intent_id=payment.intent_id)
        case Payment.Status.DECLINED:
            return PaymentDeclined(**known, card_no=payment.card_no, code=verdict.failure_code)
        case Payment.Status.REQUIRES_ACTION:
            return PaymentActionRequired(**known, card_no=payment.card_no)
        case Payment.Status.FAILED:
            return PaymentFailed(**known, code=verdict.failure_code)
        case Payment.Status.CANCELED:
            return services.canceled(payment, code="requested")
    return None
