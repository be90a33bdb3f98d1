"""What an older backup, or a person at the bank, leaves behind: healed where that is safe, else shown to a person who
can pay it back."""

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from django.db import connection, transaction
from django.db.models.functions import Now

from outbox import questions
from payments import bank_events, refunds, services
from payments.models import Difference, Payment, PaymentAttempt, Refund
from payments.reconciliation import reconcile
from tests.integration.payments.reconciling import ask, kinds, settled, work_refunds

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

Kind = Difference.Kind
DECLINED = "pm_card_visa_chargeDeclined"


def back_to(payment: Payment, **earlier: Any) -> None:
    """The row as an older backup has it, against every rule; and its journal, where that is said."""
    journal = earlier.pop("journal", None)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
        Payment.objects.filter(pk=payment.pk).update(**earlier)
        if journal is not None:
            PaymentAttempt.objects.filter(payment=payment).exclude(phase__in=journal).delete()


UNTRIED: dict[str, Any] = {
    "status": "unprocessed",
    "intent_id": "",
    "latest_charge": "",
    "settled_at": None,
    "due_at": None,
    "attempts": 0,
    "journal": (),
}


def charged_with_second_card(scene: "Scene") -> Payment:
    """Declined in the backup; then the customer gave another card, and it was charged."""
    payment = scene.payment(card=DECLINED)
    scene.work()
    kept = Payment.objects.values("status", "card_no", "payment_method", "failure_code", "latest_charge").get()
    services.give_card(order_id=payment.order_id, payment_method="pm_card_visa")
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    back_to(payment, **kept, settled_at=None, due_at=None)
    settled()
    return payment


def test_declined_here_and_charged_there_is_healed(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = charged_with_second_card(scene)
    assert reconcile().nudged == 1
    assert Difference.objects.get().healing
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    assert scene.facts(payment).count("PaymentProcessed") == 2, "one of them was in the history that is lost"
    assert scene.charged(payment) == 1
    settled()
    assert (reconcile().resolved, kinds()) == (1, [])


def test_the_banks_own_word_is_enough(scene: "Scene", bank: stripe.StripeClient) -> None:
    """Its list of events is read again after a restore, before any reconciliation."""
    payment = charged_with_second_card(scene)
    untouched = scene.payment(released=False)
    assert bank_events.catch_up() > 0
    assert scene.fresh(untouched).due_at is None, "only what is charged is woken"
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    assert scene.charged(payment) == 1
    assert scene.charged(untouched) == 0


def test_an_event_of_a_lost_intent_charges_nothing(scene: "Scene", bank: stripe.StripeClient) -> None:
    """Its payment is known by our own id alone: to wake it would be to create another intent."""
    payment = scene.payment()
    scene.work()
    back_to(payment, **UNTRIED)
    bank_events.catch_up()
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.UNPROCESSED
    assert len(scene.intents(payment)) == 1


def test_a_refusal_that_is_read_again_is_told_once(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment(card=DECLINED)
    scene.work()
    before = scene.fresh(payment)
    assert services.wake_charged(intent_id=before.intent_id) == 1  # which is not so
    scene.work()
    after = scene.fresh(payment)
    assert scene.journal(payment)[-1] == ("retrieve", "answered")
    assert (after.status, after.failure_code, after.due_at) == ("declined", before.failure_code, None)
    assert after.failure_code
    assert scene.facts(payment).count("PaymentDeclined") == 1
    assert len(scene.sandbox.bank_objects("charge")) == 1, "the card was not tried again"


def test_another_card_overtakes_the_reading_of_the_last(scene: "Scene", bank: stripe.StripeClient) -> None:
    """The worker reads the refusal when the customer gives another card: its result may not be written."""
    payment = scene.payment(card=DECLINED)
    scene.work()
    services.wake_charged(intent_id=scene.fresh(payment).intent_id)
    caller = scene.engine()._caller
    (call,) = caller.claim(limit=1)
    answer = caller.perform(call)
    services.give_card(order_id=payment.order_id, payment_method="pm_card_visa")
    assert caller.record([(call, answer)]) == [], "the claim was lost"
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    assert scene.journal(payment)[-1] == ("confirm", "answered")


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_ended_here_and_charged_there_is_paid_back(scene: "Scene", bank: stripe.StripeClient, status: str) -> None:
    payment = scene.payment(amount=5000)
    scene.work()
    back_to(payment, status=status)
    settled()
    assert (reconcile().nudged, reconcile().open) == (0, 1), "its order is over: no machine decides"
    (found,) = Difference.objects.all()
    assert (found.kind, found.healing, found.amount) == (Kind.CHARGED_NOT_PAID, False, 5000)
    first = refunds.pay_back(difference=found, reason="no goods any more", request_token="a", actor="olga")
    assert refunds.pay_back(difference=found, reason="no goods any more", request_token="a", actor="olga") == first
    with pytest.raises(refunds.NotRefundable, match="on its way already"):
        refunds.pay_back(difference=found, reason="me too", request_token="b", actor="omar")
    work_refunds()
    first.refresh_from_db()
    assert (first.status, first.amount) == (Refund.Status.SUCCEEDED, 5000)
    assert scene.fresh(payment).status == status, "no state goes backwards"
    assert [each["amount"] for each in scene.sandbox.bank_objects("refund").values()] == [5000]
    settled()
    assert (reconcile().resolved, kinds()) == (1, []), "both sides say: charged, and paid back"


def test_a_large_one_is_approved_by_a_second_person(scene: "Scene", bank: stripe.StripeClient, settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = 1000
    payment = scene.payment(amount=5000)
    scene.work()
    back_to(payment, status="canceled")
    settled()
    reconcile()
    refund = refunds.pay_back(difference=Difference.objects.get(), reason="r", request_token="a", actor="olga")
    assert refund.status == Refund.Status.AWAITING_APPROVAL
    with pytest.raises(refunds.SamePerson):
        refunds.decide(refund_id=refund.pk, approve=True, actor="olga", reason="yes")
    refunds.decide(refund_id=refund.pk, approve=True, actor="omar", reason="yes")
    work_refunds()
    assert len(scene.sandbox.bank_objects("refund")) == 1


def test_only_what_was_charged_for_it_is_paid_back(scene: "Scene", bank: stripe.StripeClient) -> None:
    paid, other = scene.payment(amount=5000), scene.payment(amount=6000)
    scene.work()
    back_to(other, status="canceled")
    known: dict[str, Any] = {"amount": 6000, "currency": "EUR", "detail": "d", "happened_at": Now(), "payment": other}
    about = scene.fresh(other).intent_id
    for wrong in (
        {**known, "kind": Kind.UNKNOWN_PAYMENT, "about": about, "payment": None},
        {**known, "kind": Kind.TWO_INTENTS, "about": "pi_second"},
        {**known, "kind": Kind.CHARGED_NOT_PAID, "about": "pi_second"},
        {**known, "kind": Kind.CHARGED_NOT_PAID, "about": about, "amount": 6001},
        {**known, "kind": Kind.CHARGED_NOT_PAID, "about": scene.fresh(paid).intent_id, "payment": paid, "amount": 5000},
    ):
        with pytest.raises(refunds.NotRefundable):
            refunds.pay_back(difference=Difference(**wrong), reason="r", request_token="t", actor="olga")
    assert not Refund.objects.exists()


def test_canceled_here_before_its_intent_was_found_again(scene: "Scene", bank: stripe.StripeClient) -> None:
    """Somebody was faster than reconciliation: the order ended as if nobody had ever tried to charge it."""
    payment = scene.payment(amount=5000)
    scene.work()
    back_to(payment, **UNTRIED)
    services.cancel(order_ids=[payment.order_id])
    assert scene.fresh(payment).status == Payment.Status.CANCELED
    settled()
    reconcile()
    assert kinds() == [Kind.CHARGED_NOT_PAID]
    refunds.pay_back(difference=Difference.objects.get(), reason="r", request_token="a", actor="olga")
    work_refunds()
    assert len(scene.sandbox.bank_objects("refund")) == 1


def test_a_payment_that_waits_for_a_review_is_read_before_it_ends(scene: "Scene", bank: stripe.StripeClient) -> None:
    """In the lost history it was accepted and charged. Now it is healed; and where a person is faster and rejects it,
    the bank is asked: it is not called canceled."""
    healed, rejected = scene.payment(amount=5000), scene.payment(amount=6000)
    scene.work()
    for each in (healed, rejected):
        back_to(each, **UNTRIED)
    settled()
    report = reconcile()
    assert (report.adopted, report.nudged) == (2, 2)
    services.cancel(order_ids=[rejected.order_id])
    assert scene.fresh(rejected).status == Payment.Status.CANCELING
    scene.work(rounds=2)
    assert {scene.fresh(each).status for each in (healed, rejected)} == {Payment.Status.SUCCEEDED}
    assert ("adopt", "answered") in scene.journal(healed), "the history says how it came to its intent"
    assert scene.charged(healed) == scene.charged(rejected) == 1


def test_a_claim_of_the_backup_does_not_hold_it(scene: "Scene", bank: stripe.StripeClient) -> None:
    """A worker had just claimed it when the backup was taken, days ago: its key is too old to be sent again, and a new
    one would charge a second time."""
    payment = scene.payment(amount=5000)
    scene.work()
    claimed = {"token": uuid.uuid4(), "claimed_by": "host:1", "due_at": Now() - dt.timedelta(days=2), "attempts": 1}
    back_to(payment, **{**UNTRIED, **claimed, "status": "processing", "journal": ["create"]})
    scene.age_keys(48)
    settled()
    assert reconcile().adopted == 1
    scene.work(rounds=2)
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    assert scene.charged(payment) == len(scene.intents(payment)) == 1


def test_a_claim_that_lasts_is_left_alone(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment(amount=5000)
    scene.work()
    claimed = {"token": uuid.uuid4(), "claimed_by": "host:1", "due_at": Now() + dt.timedelta(minutes=1)}
    back_to(payment, **{**UNTRIED, **claimed, "status": "processing"})
    settled()
    report = reconcile()
    assert (report.adopted, len(report.undecided)) == (0, 1)


def test_a_refund_that_waited_for_approval_is_not_sent_again(scene: "Scene", bank: stripe.StripeClient) -> None:
    """Approved and sent in the lost history: here it waits again, and knows what became of it."""
    payment = scene.payment(amount=50_000)
    scene.work()
    refund = ask(scene.fresh(payment), 20_000, by_person=True)
    refunds.decide(refund_id=refund.pk, approve=True, actor="omar", reason="yes")
    work_refunds()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE payments_refund SET status = 'awaiting_approval', approved_by = '', refund_id = '', "
            "settled_at = NULL, due_at = NULL, attempts = 0"
        )
    settled()
    reconcile()
    refund.refresh_from_db()
    assert (refund.status, refund.due_at) == (Refund.Status.AWAITING_APPROVAL, None)
    assert refund.refund_id
    assert kinds() == [Kind.REFUND_DIFFERS]
    refunds.decide(refund_id=refund.pk, approve=True, actor="omar", reason="it was sent, says the difference")
    work_refunds()
    refund.refresh_from_db()
    assert refund.status == Refund.Status.SUCCEEDED
    assert len(scene.sandbox.bank_objects("refund")) == 1
    settled()
    assert (reconcile().resolved, kinds()) == (1, [])


def test_what_was_sent_back_twice_is_seen(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment(amount=5000)
    scene.work()
    refund = ask(scene.fresh(payment), 700)
    work_refunds()
    intent_id = scene.fresh(payment).intent_id
    again = bank.v1.refunds.create(
        {"payment_intent": intent_id, "amount": 700, "metadata": {"refund": str(refund.public_id)}}
    )
    settled()
    reconcile()
    (found,) = Difference.objects.all()
    assert (found.kind, found.about) == (Kind.REFUND_WITHOUT_ROW, again.id)


def test_the_log_does_not_repeat_what_a_person_has_resolved(
    scene: "Scene", bank: stripe.StripeClient, caplog: pytest.LogCaptureFixture
) -> None:
    payment = scene.payment()
    scene.work()
    bank.v1.refunds.create({"payment_intent": scene.fresh(payment).intent_id, "amount": 100})
    settled()
    reconcile()
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    questions.resolve(Difference.objects.get(), actor="operator:olga", reason="for a friend")
    reconcile()
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
