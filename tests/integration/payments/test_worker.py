"""The payments worker against the bank: every outcome, once."""

from typing import TYPE_CHECKING

import pytest
from django.db import DatabaseError, transaction

from outbox import claims
from payments import services
from payments.models import Payment, PaymentAttempt
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

Status = Payment.Status


def test_an_unreleased_payment_is_left_alone(scene: "Scene") -> None:
    payment = scene.payment(released=False)
    scene.work()
    assert scene.fresh(payment).status == Status.UNPROCESSED
    assert scene.intents(payment) == []


def test_a_good_card_is_charged_once(scene: "Scene") -> None:
    payment = scene.payment()
    scene.work()
    fresh = scene.fresh(payment)
    assert fresh.status == Status.SUCCEEDED
    assert fresh.settled_at is not None
    assert scene.facts(payment) == ["PaymentProcessed"]
    assert scene.journal(payment) == [("create", "answered"), ("confirm", "answered")]
    (intent,) = scene.intents(payment)
    assert (intent["id"], intent["status"], intent["amount"]) == (fresh.intent_id, "succeeded", 1250)
    assert scene.charged(payment) == 1
    first, second = PaymentAttempt.objects.order_by("id")
    assert first.key == f"payment:{payment.public_id}:create:0"
    assert second.key == f"payment:{payment.public_id}:confirm:1:0"
    assert first.request["amount"] == 1250
    assert first.request_id.startswith("req_")


def test_a_declined_card_may_be_followed_by_another(scene: "Scene") -> None:
    payment = scene.payment(card="pm_card_visa_chargeDeclinedInsufficientFunds")
    scene.work()
    fresh = scene.fresh(payment)
    assert (fresh.status, fresh.failure_code, fresh.due_at) == (Status.DECLINED, "insufficient_funds", None)
    assert scene.facts(payment) == ["PaymentDeclined"]
    services.give_card(order_id=payment.order_id, payment_method="pm_card_visa")
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.facts(payment) == ["PaymentDeclined", "PaymentProcessed"]
    assert len(scene.intents(payment)) == 1
    assert scene.charged(payment) == 1
    with pytest.raises(services.NotPayable):
        services.give_card(order_id=payment.order_id, payment_method="pm_card_visa")


def test_a_card_that_no_longer_works_asks_for_another(scene: "Scene") -> None:
    payment = scene.payment(card="pm_gone123")
    scene.work()
    fresh = scene.fresh(payment)
    assert (fresh.status, fresh.blocked_reason) == (Status.DECLINED, "")
    assert scene.journal(payment)[-1] == ("confirm", "card_unusable")


def test_a_customer_must_confirm(scene: "Scene") -> None:
    payment = scene.payment(card="pm_card_threeDSecure2Required")
    scene.work()
    fresh = scene.fresh(payment)
    assert fresh.status == Status.REQUIRES_ACTION
    assert fresh.action_url.startswith(scene.sandbox.url)
    assert scene.facts(payment) == ["PaymentActionRequired"]
    scene.work(rounds=2)
    assert [phase for phase, _ in scene.journal(payment)] == ["create", "confirm", "retrieve"]
    assert scene.facts(payment) == ["PaymentActionRequired"]


def test_a_refused_connection_is_no_attempt_to_pay(scene: "Scene") -> None:
    rule = scene.sandbox.add_fault("bank", "down")
    payment = scene.payment()
    scene.work(rounds=2)
    fresh = scene.fresh(payment)
    assert (fresh.status, fresh.token) == (Status.UNPROCESSED, None)
    assert scene.journal(payment) == [("create", "not_executed")] * 2
    scene.sandbox.remove_fault(rule)
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED


@pytest.mark.parametrize("op", ["payment_intents.create", "payment_intents.confirm"])
@pytest.mark.parametrize(
    "kind",
    ["drop_after", "drop_before", "reset", "cut_body", "malformed_body", "error_500_after", "error_500_before"],
)
def test_a_lost_answer_is_resolved_without_a_second_charge(scene: "Scene", op: str, kind: str) -> None:
    scene.sandbox.add_fault(op, kind, times=1)
    payment = scene.payment()
    scene.work()
    assert scene.fresh(payment).status == Status.UNKNOWN
    scene.work(rounds=4)
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.facts(payment) == ["PaymentProcessed"]
    assert scene.charged(payment) == 1
    succeeded = [intent for intent in scene.intents(payment) if intent["status"] == "succeeded"]
    assert len(succeeded) == 1


@pytest.mark.parametrize("kind", ["drop_after", "error_500_after"])
def test_a_lost_decline_is_found_again_as_a_decline(scene: "Scene", kind: str) -> None:
    scene.sandbox.add_fault("payment_intents.confirm", kind, times=1)
    payment = scene.payment(card="pm_card_visa_chargeDeclined")
    scene.work(rounds=4)
    fresh = scene.fresh(payment)
    assert fresh.status == Status.DECLINED
    assert scene.facts(payment) == ["PaymentDeclined"]


@pytest.mark.parametrize("kind", ["rate_limit", "conflict_409"])
def test_what_was_not_executed_is_sent_again_with_the_same_key(scene: "Scene", kind: str) -> None:
    scene.sandbox.add_fault("payment_intents.confirm", kind, times=1)
    payment = scene.payment()
    scene.work(rounds=2)
    assert scene.fresh(payment).status == Status.SUCCEEDED
    keys = PaymentAttempt.objects.filter(payment=payment, phase="confirm").values_list("key", flat=True)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_slow_drip_ends_at_the_deadline(scene: "Scene") -> None:
    scene.sandbox.add_fault("payment_intents.confirm", "slow_drip", times=1, seconds=15)
    payment = scene.payment()
    scene.work()
    assert scene.fresh(payment).status == Status.UNKNOWN
    attempt = PaymentAttempt.objects.get(payment=payment, phase="confirm")
    assert attempt.duration_ms is not None
    assert 1500 < attempt.duration_ms < 5000
    scene.work(rounds=2)
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.charged(payment) == 1


def test_a_wrong_key_blocks_nothing(scene: "Scene", settings: object) -> None:
    settings.STRIPE_SECRET_KEY = "sk_wrong"  # type: ignore[attr-defined]
    payment = scene.payment()
    scene.work()
    fresh = scene.fresh(payment)
    assert (fresh.status, fresh.blocked_reason) == (Status.UNPROCESSED, "")
    assert fresh.due_at is not None
    settings.STRIPE_SECRET_KEY = "sk_test_sandbox"  # type: ignore[attr-defined]
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED


def test_our_own_mistake_waits_for_a_person(scene: "Scene") -> None:
    payment = scene.payment()
    Payment.objects.filter(pk=payment.pk).update(currency="XXX")
    scene.work()
    fresh = scene.fresh(payment)
    assert "refused our request" in fresh.blocked_reason
    assert (fresh.due_at, fresh.token) == (None, None)
    scene.work(rounds=2)
    assert len(scene.journal(payment)) == 1


def test_a_dead_worker_is_followed_by_reading_first(scene: "Scene") -> None:
    """P5: the confirm was sent, and the worker died before the answer."""
    payment = scene.payment()
    engine = scene.engine()
    engine.run_once()
    engine._wait_for_answer(None)
    engine._record_finished()  # the intent's id is saved, the confirm is under way
    engine._wait_for_answer(None)  # and this answer is lost with its worker
    engine._held.clear()
    engine.close()
    assert scene.fresh(payment).status == Status.PROCESSING
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert [phase for phase, _ in scene.journal(payment)] == ["create", "confirm", "retrieve"]
    assert scene.charged(payment) == 1
    assert scene.facts(payment) == ["PaymentProcessed"]


def test_a_worker_whose_lease_ran_out_writes_no_state(scene: "Scene") -> None:
    payment = scene.payment()
    slow, quick = scene.engine(), scene.engine()
    slow.run_once()
    slow._wait_for_answer(None)  # it has the answer of its create, and stalls
    scene.make_due()
    quick.run_until_idle()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    before = scene.fresh(payment)
    slow._record_finished()
    slow.close()
    quick.close()
    after = scene.fresh(payment)
    assert (after.status, after.settled_at, after.intent_id) == (before.status, before.settled_at, before.intent_id)
    late = PaymentAttempt.objects.filter(payment=payment).earliest("id")
    assert (late.claim_lost, late.outcome) == (True, "answered")
    assert scene.facts(payment) == ["PaymentProcessed"]
    assert scene.charged(payment) == 1


def test_a_nudge_during_a_call_is_not_lost(scene: "Scene") -> None:
    payment = scene.payment(card="pm_card_threeDSecure2Required")
    engine = scene.engine()
    engine.run_once()
    engine._wait_for_answer(None)
    engine._record_finished()
    engine._wait_for_answer(None)
    assert claims.nudge(Payment.objects.filter(pk=payment.pk)) == 1
    held = scene.fresh(payment)
    assert held.token is not None  # the worker keeps its claim
    engine._record_finished()
    fresh = scene.fresh(payment)
    assert fresh.status == Status.REQUIRES_ACTION
    engine.run_until_idle()  # due at once, not in WAITING's time
    engine.close()
    assert [phase for phase, _ in scene.journal(payment)] == ["create", "confirm", "retrieve"]


def test_cancelling_ends_only_with_the_banks_answer(scene: "Scene") -> None:
    untouched = scene.payment(released=False)
    services.cancel(order_ids=[untouched.order_id])
    assert scene.fresh(untouched).status == Status.CANCELED
    assert scene.facts(untouched) == ["PaymentCanceled"]

    waiting = scene.payment(card="pm_card_threeDSecure2Required")
    scene.work()
    services.cancel(order_ids=[waiting.order_id])
    assert scene.fresh(waiting).status == Status.CANCELING
    scene.work()
    assert scene.fresh(waiting).status == Status.CANCELED
    assert scene.facts(waiting) == ["PaymentActionRequired", "PaymentCanceled"]
    (intent,) = scene.intents(waiting)
    assert intent["status"] == "canceled"


def test_a_cancel_that_comes_too_late_says_so(scene: "Scene") -> None:
    """Asked while the confirm is under way: the money is known, not lost."""
    payment = scene.payment()
    engine = scene.engine()
    engine.run_once()
    engine._wait_for_answer(None)
    engine._record_finished()
    engine._wait_for_answer(None)  # the confirm has succeeded at the bank
    services.cancel(order_ids=[payment.order_id])
    assert scene.fresh(payment).status == Status.CANCELING
    engine._held.clear()  # and the worker dies
    engine.close()
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.facts(payment) == ["PaymentProcessed"]


def test_a_key_goes_out_with_the_body_it_went_out_with_before(scene: "Scene") -> None:
    """Whatever our rows, or a newer build, would write by now: the bank refuses another body under the same key."""
    scene.sandbox.add_fault("payment_intents.create", "drop_after", times=1)
    payment = scene.payment()
    scene.work()
    Payment.objects.filter(pk=payment.pk).update(reference="O-CHANGED")
    scene.work(rounds=3)
    assert (scene.fresh(payment).status, scene.fresh(payment).blocked_reason) == (Status.SUCCEEDED, "")
    sent = PaymentAttempt.objects.filter(payment=payment, phase="create").values_list("request", flat=True)
    assert len(sent) == 2
    assert sent[0] == sent[1]


def test_an_old_key_is_never_sent_again(scene: "Scene") -> None:
    scene.sandbox.add_fault("payment_intents.confirm", "drop_before", times=1)
    payment = scene.payment()
    scene.work()
    assert scene.fresh(payment).status == Status.UNKNOWN
    scene.age_keys(hours=13)
    scene.work(rounds=2)
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    confirms = PaymentAttempt.objects.filter(payment=payment, phase="confirm").order_by("id")
    keys = list(confirms.values_list("key", flat=True))
    assert keys == [payment.confirm_key(), payment.confirm_key()[:-1] + "1"]
    assert scene.charged(payment) == 1


def test_the_journal_is_closed_once(scene: "Scene") -> None:
    payment = scene.payment()
    scene.work()
    attempt = PaymentAttempt.objects.filter(payment=payment)[0]
    with pytest.raises(DatabaseError, match="closed once"), transaction.atomic():
        PaymentAttempt.objects.filter(pk=attempt.pk).update(outcome="declined")
    with pytest.raises(DatabaseError, match="closed once"), transaction.atomic():
        attempt.delete()


def test_many_workers_share_many_payments(scene: "Scene") -> None:
    payments = [scene.payment() for _ in range(40)]

    def worker() -> int:
        engine = scene.engine(in_flight=8)
        try:
            return engine.run_until_idle(seconds=60)
        finally:
            engine.close()

    together(worker, worker, worker)
    assert Payment.objects.filter(status=Status.SUCCEEDED).count() == 40
    assert all(scene.charged(payment) == 1 for payment in payments)
    assert all(scene.facts(payment) == ["PaymentProcessed"] for payment in payments)
    assert PaymentAttempt.objects.count() == 80
