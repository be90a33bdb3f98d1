"""Requests and answers against the providers' own descriptions of their APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import stripe
from sendgrid import SendGridAPIClient

from tests.contracts import SendGridContract, StripeContract
from tests.sandbox.clients import RETURN_URL, confirmed, created, eventually, new_key, paid
from tests.sandbox.mails import a_mail
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.contracts
LACKING = {
    "payment_intent": {"managed_payments"},  # a later product, of no use here
    "charge": {"refunds", "source"},  # only when expanded; only of older kinds of payment
}
"""Fields of Stripe's samples that the sandbox leaves out, and why."""


@pytest.fixture(scope="module")
def contract() -> StripeContract:
    return StripeContract()


def parsed(answer: Any) -> Any:
    return json.loads(answer.last_response.body)


def check(contract: StripeContract, method: str, path: str, answer: Any) -> None:
    assert contract.answer_errors(method, path, 200, parsed(answer)) == []


def check_fields(contract: StripeContract, value: dict[str, Any]) -> None:
    allowed = {f"{value['object']} lacks {name}" for name in LACKING.get(value["object"], set())}
    assert set(contract.field_errors(value)) <= allowed


def test_intents_in_every_state(bank: stripe.StripeClient, contract: StripeContract) -> None:
    path = "/v1/payment_intents"
    fresh = created(bank, metadata={"order": "7"}, receipt_email="shopper@example.com", description="Order 7")
    check(contract, "POST", path, fresh)
    chosen = created(bank, payment_method="pm_card_visa")
    waiting = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    by_script = created(bank, payment_method_types=["card"])
    scripted = bank.v1.payment_intents.confirm(by_script.id, {"payment_method": "pm_card_authenticationRequired"})
    succeeded = confirmed(bank, fresh.id, "pm_card_visa", expand=["latest_charge", "payment_method"])
    canceled = bank.v1.payment_intents.cancel(chosen.id, {"cancellation_reason": "requested_by_customer"})
    slow = confirmed(bank, created(bank).id, "pm_usBankAccount_processing")
    for intent, action in ((waiting, "confirm"), (scripted, "confirm"), (succeeded, "confirm"), (slow, "confirm")):
        check(contract, "POST", f"{path}/{intent.id}/{action}", intent)
    check(contract, "POST", f"{path}/{canceled.id}/cancel", canceled)
    statuses = {intent.status for intent in (waiting, succeeded, canceled, slow)}
    assert statuses == {"requires_action", "succeeded", "canceled", "processing"}
    for intent in (fresh, waiting, succeeded, canceled, slow):
        current = bank.v1.payment_intents.retrieve(intent.id)
        check(contract, "GET", f"{path}/{intent.id}", current)
        check_fields(contract, parsed(current))
    check(contract, "GET", path, bank.v1.payment_intents.list({"limit": 100, "expand": ["data.latest_charge"]}))


def test_a_wrong_answer_is_noticed(bank: stripe.StripeClient, contract: StripeContract) -> None:
    good = parsed(created(bank))
    assert contract.answer_errors("POST", "/v1/payment_intents", 200, good) == []
    for wrong in (
        {**good, "status": "paid"},
        {**good, "amount": "1999"},
        {**good, "next_action": {"redirect_to_url": {}}},
        {name: value for name, value in good.items() if name != "currency"},
    ):
        assert contract.answer_errors("POST", "/v1/payment_intents", 200, wrong) != []
    assert contract.field_errors({**good, "colour": "red"})[0] == "payment_intent has no field colour"


def test_every_refusal_of_the_bank(bank: stripe.StripeClient, world: SandboxProcess, contract: StripeContract) -> None:
    path, key = "/v1/payment_intents", new_key()
    done, open_intent = paid(bank), created(bank)
    create = bank.v1.payment_intents.create
    create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    refusals: list[Callable[[], object]] = [
        lambda: confirmed(bank, open_intent.id, "pm_card_visa_chargeDeclined"),
        lambda: confirmed(bank, open_intent.id, "pm_card_authenticationRequired", off_session=True),
        lambda: confirmed(bank, done.id, "pm_card_visa"),
        lambda: bank.v1.payment_intents.cancel(done.id),
        lambda: create({"amount": 1, "currency": "eur"}),
        lambda: create({"amount": 2000, "currency": "eur"}, {"idempotency_key": key}),
        lambda: bank.v1.payment_intents.retrieve("pi_none"),
    ]
    seen = set()
    for refusal in refusals:
        with pytest.raises(stripe.StripeError) as refused:
            refusal()
        assert refused.value.http_status is not None
        assert contract.answer_errors("POST", path, refused.value.http_status, refused.value.json_body) == []
        seen.add(refused.value.http_status)
    for kind in ("rate_limit", "conflict_409", "error_500_before", "error_500_after"):
        world.add_fault("payment_intents.create", kind, times=1)
        with pytest.raises(stripe.StripeError) as refused:
            created(bank)
        assert refused.value.http_status is not None
        assert contract.answer_errors("POST", path, refused.value.http_status, refused.value.json_body) == []
        seen.add(refused.value.http_status)
    assert seen == {400, 402, 404, 409, 429, 500}


def test_an_intent_that_keeps_its_error(bank: stripe.StripeClient, contract: StripeContract) -> None:
    intent = created(bank)
    with pytest.raises(stripe.CardError):
        confirmed(bank, intent.id, "pm_card_chargeDeclinedExpiredCard")
    current = bank.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    check(contract, "GET", f"/v1/payment_intents/{intent.id}", current)
    check_fields(contract, parsed(current)["latest_charge"])


def test_charges_methods_refunds(bank: stripe.StripeClient, contract: StripeContract) -> None:
    intent = paid(bank)
    charge = bank.v1.charges.retrieve(str(intent.latest_charge))
    check(contract, "GET", f"/v1/charges/{charge.id}", charge)
    check_fields(contract, parsed(charge))
    method = bank.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"number": "4242424242424242", "exp_month": 1, "exp_year": 2040, "cvc": "123"},
            "billing_details": {"name": "A Shopper", "email": "shopper@example.com", "address": {"city": "Bern"}},
        }
    )
    check(contract, "POST", "/v1/payment_methods", method)
    check_fields(contract, parsed(method))
    check(contract, "GET", f"/v1/payment_methods/{method.id}", bank.v1.payment_methods.retrieve(method.id))
    refund = bank.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 500, "reason": "duplicate", "metadata": {"refund": "r1"}}
    )
    check(contract, "POST", "/v1/refunds", refund)
    check_fields(contract, parsed(refund))
    failing = bank.v1.refunds.create({"payment_intent": paid(bank, method="pm_card_refundFail").id})
    eventually(lambda: bank.v1.refunds.retrieve(failing.id).status == "failed", what="the failure")
    check(contract, "GET", f"/v1/refunds/{failing.id}", bank.v1.refunds.retrieve(failing.id))
    check(contract, "GET", "/v1/refunds", bank.v1.refunds.list({"payment_intent": intent.id}))


def test_disputes_and_events(bank: stripe.StripeClient, contract: StripeContract) -> None:
    intent = paid(bank, method="pm_card_createDispute")
    dispute = eventually(lambda: bank.v1.disputes.list({"payment_intent": intent.id}).data, what="the dispute")[0]
    whole = bank.v1.disputes.retrieve(dispute.id)
    assert contract.object_errors(parsed(whole)) == []
    check_fields(contract, parsed(whole))
    events = bank.v1.events.list({"limit": 100})
    check(contract, "GET", "/v1/events", events)
    for event in parsed(events)["data"]:
        check_fields(contract, event)
        assert contract.object_errors(event["data"]["object"]) == []
    check(contract, "GET", f"/v1/events/{events.data[0].id}", bank.v1.events.retrieve(events.data[0].id))


def test_requests_of_the_sdk_are_understood_by_stripe(
    bank: stripe.StripeClient, world: SandboxProcess, contract: StripeContract
) -> None:
    start = world.ledger()[-1]["n"] if world.ledger() else 0
    intent = created(bank, metadata={"order": "7"}, automatic_payment_methods={"enabled": True})
    confirmed(bank, intent.id, "pm_card_visa", expand=["latest_charge"])
    bank.v1.refunds.create({"payment_intent": intent.id, "amount": 1, "metadata": {"refund": "r"}})
    bank.v1.payment_intents.list({"limit": 3, "created": {"gte": 1}})
    with pytest.raises(stripe.InvalidRequestError):
        bank.v1.payment_intents.create({"amount": 1999, "currency": "eur", "colour": "red"})  # type: ignore[typeddict-unknown-key]
    lines = [line for line in world.ledger(after=start, book="bank") if "method" in line]
    found = {line["n"]: contract.request_errors(line["method"], line["path"], line.get("params", {})) for line in lines}
    assert len(found) == 5
    wrong = [errors for errors in found.values() if errors]
    assert len(wrong) == 1
    assert "colour" in wrong[0][0]
    assert RETURN_URL in str(lines[1]["params"])


def test_mails_are_understood_by_sendgrid(mail: SendGridAPIClient) -> None:
    contract = SendGridContract()
    for body in (a_mail(), a_mail(categories=["order"], reply_to={"email": "help@example.com"})):
        assert contract.request_errors(body) == []
        assert mail.client.mail.send.post(request_body=body).status_code == 202
    assert contract.request_errors(a_mail(custom_args={"order": 7})) != []
    assert contract.request_errors({"from": {"email": "a@b.c"}}) != []
