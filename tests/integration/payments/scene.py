"""What tests of payments do over and over: an order's payment, a worker's turn, a look into the bank's ledger."""

import datetime as dt
import itertools
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from outbox.models import OutboxRecord
from outbox.worker import Engine
from payments import services
from payments.models import Breaker, Payment, PaymentAttempt, Refund
from payments.worker import make_engine
from tests.sandbox_process import SandboxProcess

_orders = itertools.count(1000)


class Scene:
    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox

    def payment(self, *, card: str = "pm_card_visa", amount: int = 1250, released: bool = True) -> Payment:
        order_id = next(_orders)
        with transaction.atomic():
            payment = services.request_payment(
                order_id=order_id,
                reference=f"O-{order_id:06d}",
                amount=amount,
                currency="EUR",
                payment_method=card,
                return_url="http://127.0.0.1:8000/orders/x/",
            )
            if released:
                services.release(order_ids=[order_id])
        return payment

    def engine(self, *, in_flight: int = 4) -> Engine[Any, Any]:
        return make_engine(in_flight=in_flight)

    def work(self, *, rounds: int = 1) -> None:
        """Let one worker do everything that is due; between rounds, backoffs are over."""
        for number in range(rounds):
            if number:
                self.make_due()
            engine = self.engine()
            try:
                engine.run_until_idle(seconds=20)
            finally:
                engine.close()

    @staticmethod
    def make_due() -> None:
        """Time passes: every backoff, every lease and every pause is over, and every doubtful call has settled."""
        Breaker.objects.filter(retry_at__isnull=False).update(retry_at=Now() - dt.timedelta(seconds=1))
        Payment.objects.filter(due_at__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))
        Refund.objects.filter(due_at__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))
        _rewrite_journal("started_at = started_at - interval '1 minute'")

    @staticmethod
    def age_keys(hours: int) -> None:
        _rewrite_journal(f"started_at = started_at - interval '{hours} hours'")

    @staticmethod
    def facts(payment: Payment) -> list[str]:
        """The types of the events published for the payment's order, in order."""
        staged = OutboxRecord.objects.filter(aggregateid=str(payment.order_id)).order_by("seq")
        return list(staged.values_list("type", flat=True))

    @staticmethod
    def journal(payment: Payment) -> list[tuple[str, str]]:
        """(phase, outcome) of every call."""
        return list(PaymentAttempt.objects.filter(payment=payment).order_by("id").values_list("phase", "outcome"))

    def intents(self, payment: Payment) -> list[dict[str, Any]]:
        """The payment's intents in the bank's own ledger file."""
        return [
            intent
            for intent in self.sandbox.bank_objects("payment_intent").values()
            if intent["metadata"].get("payment") == str(payment.public_id)
        ]

    def charged(self, payment: Payment) -> int:
        """How many succeeded charges the bank has for the payment."""
        intents = {intent["id"] for intent in self.intents(payment)}
        charges = self.sandbox.bank_objects("charge").values()
        return sum(1 for charge in charges if charge["payment_intent"] in intents and charge["status"] == "succeeded")

    @staticmethod
    def fresh(payment: Payment) -> Payment:
        return Payment.objects.get(pk=payment.pk)


def _rewrite_journal(change: str) -> None:
    """Only a test may move the journal's times: its trigger is switched off for the moment."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"UPDATE payments_paymentattempt SET {change}")  # noqa: S608 - a test's own text
