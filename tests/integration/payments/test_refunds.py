"""Money back: every outcome, once."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from outbox import claims
from payments import refunds
from payments.models import Payment, Refund
from payments.refund_worker import make_engine
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

Status = Refund.Status


@pytest.fixture
def paid(scene: "Scene") -> Payment:
    payment = scene.payment(amount=5000)
    scene.work()
    return scene.fresh(payment)


def ask(payment: Payment, amount: int | None = None, *, request: str = "t", by_person: bool = False) -> Refund:
    return refunds.request_refund(
        order_id=payment.order_id,
        amount=amount,
        reason="changed their mind",
        request_token=request,
        actor="operator:olga" if by_person else "system",
        by_person=by_person,
    )


def work(scene: "Scene", *, rounds: int = 1) -> None:
    for number in range(rounds):
        if number:
            scene.make_due()
        engine = make_engine()
        try:
            engine.run_until_idle(seconds=20)
        finally:
            engine.close()


def at_the_bank(scene: "Scene", payment: Payment) -> list[tuple[int, str]]:
    found = scene.sandbox.bank_objects("refund").values()
    return [(each["amount"], each["status"]) for each in found if each["payment_intent"] == payment.intent_id]


def test_a_full_refund(scene: "Scene", paid: Payment) -> None:
    refund = ask(paid)
    work(scene)
    refund.refresh_from_db()
    assert (refund.status, refund.amount) == (Status.SUCCEEDED, 5000)
    assert at_the_bank(scene, paid) == [(5000, "succeeded")]
    assert scene.facts(paid) == ["PaymentProcessed", "RefundProcessed"]
    assert refunds.refundable(paid) == 0


def test_two_equal_partial_refunds_are_two_and_one_repeated_is_one(scene: "Scene", paid: Payment) -> None:
    asked = together(*[lambda: ask(paid, 1500, request="a")] * 4, *[lambda: ask(paid, 1500, request="b")] * 4)
    assert len({each.pk for each in asked}) == 2
    work(scene)
    assert at_the_bank(scene, paid) == [(1500, "succeeded")] * 2
    with pytest.raises(refunds.NotRefundable, match=r"€20\.00 can be refunded"):
        ask(paid, 2001, request="c")


def test_many_at_once_never_exceed_the_charge(scene: "Scene", paid: Payment) -> None:
    def one(number: int) -> int:
        try:
            return ask(paid, 2000, request=f"n{number}").amount
        except refunds.NotRefundable:
            return 0

    assert sum(together(*[lambda number=number: one(number) for number in range(6)])) == 4000


@pytest.mark.parametrize(
    "kind", ["drop_after", "drop_before", "reset", "cut_body", "malformed_body", "error_500_after"]
)
def test_a_lost_answer_never_refunds_twice(scene: "Scene", paid: Payment, kind: str) -> None:
    scene.sandbox.add_fault("refunds.create", kind, times=1)
    refund = ask(paid, 3000)
    work(scene)
    refund.refresh_from_db()
    assert refund.status == Status.UNKNOWN
    work(scene, rounds=3)
    scene.make_due()
    work(scene)
    refund.refresh_from_db()
    assert refund.status == Status.SUCCEEDED
    assert at_the_bank(scene, paid) == [(3000, "succeeded")]
    assert scene.facts(paid).count("RefundProcessed") == 1


def test_an_old_key_is_not_sent_again_but_looked_for(scene: "Scene", paid: Payment) -> None:
    scene.sandbox.add_fault("refunds.create", "drop_before", times=1)
    refund = ask(paid, 3000)
    work(scene)
    scene.age_keys(hours=13)
    scene.make_due()
    work(scene)
    refund.refresh_from_db()
    assert (refund.status, at_the_bank(scene, paid)) == (Status.UNKNOWN, [])
    assert "no refund with our id" in refund.blocked_reason


def test_a_refund_that_fails_later_is_told(scene: "Scene") -> None:
    payment = scene.payment(card="pm_card_refundFail", amount=5000)
    scene.work()
    payment.refresh_from_db()
    refund = ask(payment)
    work(scene)
    refund.refresh_from_db()
    assert refund.status == Status.SUCCEEDED
    deadline = time.monotonic() + 20
    while at_the_bank(scene, payment) != [(5000, "failed")] and time.monotonic() < deadline:
        time.sleep(0.1)  # the bank's own clock
    assert at_the_bank(scene, payment) == [(5000, "failed")]
    assert claims.nudge(Refund.objects.filter(pk=refund.pk)) == 1  # as its webhook would
    work(scene)
    refund.refresh_from_db()
    assert refund.status == Status.FAILED
    assert scene.facts(payment) == ["PaymentProcessed", "RefundProcessed", "RefundFailed"]
    assert refunds.refundable(scene.fresh(payment)) == 5000


def test_a_large_refund_needs_two_persons(scene: "Scene", paid: Payment, settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = 1000
    refund = ask(paid, 3000, by_person=True)
    work(scene)
    assert at_the_bank(scene, paid) == []
    with pytest.raises(refunds.SamePerson):
        refunds.decide(refund_id=refund.pk, approve=True, actor="operator:olga", reason="x")
    refunds.decide(refund_id=refund.pk, approve=True, actor="operator:omar", reason="x")
    with pytest.raises(refunds.NotAwaitingApproval):
        refunds.decide(refund_id=refund.pk, approve=False, actor="operator:oda", reason="x")
    work(scene)
    assert at_the_bank(scene, paid) == [(3000, "succeeded")]


def test_what_was_not_charged_cannot_be_refunded(scene: "Scene") -> None:
    payment = scene.payment(released=False)
    with pytest.raises(refunds.NotRefundable):
        ask(payment, 100)
