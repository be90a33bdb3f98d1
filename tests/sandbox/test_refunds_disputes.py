"""Refunds and disputes, and what becomes of them by itself."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.clients import created, eventually, new_key, paid
from tests.sandbox_process import SandboxProcess


def test_partial_refunds_up_to_the_charge(bank: stripe.StripeClient) -> None:
    intent = paid(bank, amount=1000)
    first = bank.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 400, "reason": "requested_by_customer", "metadata": {"refund": "r1"}}
    )
    assert (first.status, first.amount, first.charge) == ("succeeded", 400, intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        bank.v1.refunds.create({"payment_intent": intent.id, "amount": 601})
    rest = bank.v1.refunds.create({"charge": str(intent.latest_charge)})
    assert rest.amount == 600
    with pytest.raises(stripe.InvalidRequestError) as refused:
        bank.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    charge = bank.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (1000, True)
    found = bank.v1.refunds.list({"payment_intent": intent.id}).data
    assert [refund.id for refund in found] == [rest.id, first.id]
    assert bank.v1.refunds.retrieve(first.id).metadata is not None


def test_two_equal_refunds_both_succeed_unless_they_share_a_key(bank: stripe.StripeClient) -> None:
    intent = paid(bank, amount=1000)
    keys = [new_key(), new_key()]
    ids = {
        bank.v1.refunds.create({"payment_intent": intent.id, "amount": 100}, {"idempotency_key": key}).id
        for key in [*keys, *keys]
    }
    assert len(ids) == 2
    assert bank.v1.charges.retrieve(str(intent.latest_charge)).amount_refunded == 200


def test_nothing_to_refund(bank: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        bank.v1.refunds.create({"payment_intent": created(bank).id})
    with pytest.raises(stripe.InvalidRequestError, match="payment_intent or charge"):
        bank.v1.refunds.create({})
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent"):
        bank.v1.refunds.create({"payment_intent": "pi_none"})


def test_a_slow_refund_succeeds_later(bank: stripe.StripeClient) -> None:
    refund = bank.v1.refunds.create({"payment_intent": paid(bank, method="pm_card_pendingRefund").id})
    assert refund.status == "pending"
    eventually(lambda: bank.v1.refunds.retrieve(refund.id).status == "succeeded", what="the refund")


def test_a_refund_that_fails_later_gives_the_money_back(bank: stripe.StripeClient) -> None:
    intent = paid(bank, method="pm_card_refundFail")
    refund = bank.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    eventually(lambda: bank.v1.refunds.retrieve(refund.id).status == "failed", what="the failure")
    assert bank.v1.refunds.retrieve(refund.id).failure_reason == "expired_or_canceled_card"
    assert bank.v1.charges.retrieve(str(intent.latest_charge)).amount_refunded == 0
    types = {event.type for event in bank.v1.events.list({"limit": 100}).data if event.data.object["id"] == refund.id}
    assert types == {"refund.created", "refund.updated", "refund.failed"}


def test_a_dispute_opens_and_is_closed(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = paid(bank, method="pm_card_createDispute")

    def dispute_of() -> stripe.Dispute | None:
        found = bank.v1.disputes.list({"payment_intent": intent.id}).data
        return found[0] if found else None

    dispute = eventually(dispute_of, what="the dispute")
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 1999)
    assert bank.v1.charges.retrieve(str(intent.latest_charge)).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        bank.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    assert world.control("POST", f"disputes/{dispute.id}/close", {"result": "lost"})["status"] == "lost"
    assert bank.v1.disputes.retrieve(dispute.id).status == "lost"


def test_an_inquiry_leaves_the_charge_refundable(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = paid(bank, method="pm_card_createDisputeInquiry")
    found = eventually(lambda: bank.v1.disputes.list({"payment_intent": intent.id}).data, what="the inquiry")
    assert found[0].status == "warning_needs_response"
    assert bank.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"
    closed = world.control("POST", f"disputes/{found[0].id}/close", {"result": "won"})
    assert closed["status"] == "warning_closed"
