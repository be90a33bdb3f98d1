"""Every request that the bank's adapter sends, and every answer it was given, against the bank's own description."""

import re
from typing import TYPE_CHECKING

import pytest

from payments import refunds, services
from payments.models import Payment, PaymentAttempt
from payments.refund_worker import make_engine
from tests.contracts import StripeContract

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

pytestmark = pytest.mark.contracts

POSTED = {
    "/v1/payment_intents",
    "/v1/payment_intents/{id}/confirm",
    "/v1/payment_intents/{id}/cancel",
    "/v1/refunds",
}


def refund(payment: Payment, scene: "Scene") -> None:
    refunds.request_refund(
        order_id=payment.order_id, amount=100, reason="r", request_token="r1", actor="system", by_person=False
    )
    engine = make_engine()
    engine.run_until_idle()
    engine.close()


def test_requests_and_answers_are_what_the_bank_describes(scene: "Scene") -> None:
    before = max((line["n"] for line in scene.sandbox.ledger(book="bank")), default=0)
    paid = scene.payment()
    declined = scene.payment(card="pm_card_visa_chargeDeclined")
    waiting = scene.payment(card="pm_card_threeDSecure2Required")
    scene.work()
    services.cancel(order_ids=[waiting.order_id])
    services.give_card(order_id=declined.order_id, payment_method="pm_card_visa")
    scene.sandbox.add_fault("payment_intents.confirm", "drop_after", times=1)
    scene.work(rounds=2)
    scene.sandbox.add_fault("refunds.create", "drop_before", times=1)
    refund(scene.fresh(paid), scene)
    scene.age_keys(hours=13)  # the refund is looked for
    scene.make_due()
    engine = make_engine()
    engine.run_until_idle()
    engine.close()
    pending = scene.payment(card="pm_card_pendingRefund")
    scene.work()
    refunds.request_refund(
        order_id=pending.order_id, amount=None, reason="r", request_token="r2", actor="system", by_person=False
    )
    engine = make_engine()
    engine.run_until_idle()
    scene.make_due()
    engine.run_until_idle()
    engine.close()

    contract = StripeContract()
    lines = [line for line in scene.sandbox.ledger(after=before, book="bank") if "method" in line]
    problems: list[str] = []
    for line in lines:
        problems += contract.request_errors(line["method"], line["path"], line.get("params", {}))
        if "answer" in line:  # a call that a fault dropped has none
            problems += contract.answer_errors(line["method"], line["path"], line["status"], line["answer"])
    assert problems == []
    # Reads leave no line in the bank's ledger; that they were made, the journal knows.
    assert {re.sub(r"/pi_\w+", "/{id}", line["path"]) for line in lines} >= POSTED
    phases = set(PaymentAttempt.objects.values_list("phase", flat=True))
    assert phases == {"create", "confirm", "retrieve", "cancel", "refund", "refund_read", "refund_find"}
