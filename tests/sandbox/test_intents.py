"""The life of a PaymentIntent, as Stripe's."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable

import pytest
import requests
import stripe

from tests.sandbox.clients import RETURN_URL, confirmed, created, eventually, paid
from tests.sandbox_process import SandboxProcess


def answer_3ds(world: SandboxProcess, intent_id: str, outcome: str) -> str:
    """Answer as the card holder; return where the browser is sent then."""
    answer = requests.post(f"{world.url}/3ds/{intent_id}", data={"outcome": outcome}, allow_redirects=False, timeout=10)
    assert answer.status_code == 303
    return answer.headers["Location"]


def test_an_intent_is_created_without_moving_money(bank: stripe.StripeClient) -> None:
    intent = created(bank, metadata={"order": "7"})
    assert (intent.status, intent.amount, intent.currency) == ("requires_payment_method", 1999, "eur")
    assert intent.latest_charge is None
    assert intent.metadata.to_dict() == {"order": "7"}
    assert bank.v1.payment_intents.retrieve(intent.id).client_secret == intent.client_secret


def test_a_good_card_is_charged_once(bank: stripe.StripeClient) -> None:
    intent = paid(bank)
    assert (intent.status, intent.amount_received) == ("succeeded", 1999)
    charge = bank.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.status, charge.paid, charge.amount, charge.payment_intent) == ("succeeded", True, 1999, intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded") as refused:
        bank.v1.payment_intents.confirm(intent.id, {"return_url": RETURN_URL})
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.id == intent.id
    with pytest.raises(stripe.InvalidRequestError, match="has a status of succeeded"):
        confirmed(bank, intent.id, "pm_card_visa")
    assert len(bank.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_create_and_confirm_in_one_call(bank: stripe.StripeClient) -> None:
    intent = created(bank, confirm=True, payment_method="pm_card_mastercard", return_url=RETURN_URL)
    assert intent.status == "succeeded"


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_a_decline_says_why_and_leaves_the_intent_open(
    bank: stripe.StripeClient, method: str, code: str, decline_code: str
) -> None:
    intent = created(bank)
    with pytest.raises(stripe.CardError) as declined:
        confirmed(bank, intent.id, method)
    assert (declined.value.http_status, declined.value.code) == (402, code)
    assert declined.value.error is not None
    assert declined.value.error.decline_code == decline_code
    after = bank.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.decline_code == decline_code
    assert after.latest_charge == declined.value.error.charge
    second = confirmed(bank, intent.id, "pm_card_visa")
    assert (second.status, second.last_payment_error) == ("succeeded", None)
    statuses = [charge.status for charge in bank.v1.charges.list({"payment_intent": intent.id}).data]
    assert statuses == ["succeeded", "failed"]


def test_a_payment_method_serves_once(bank: stripe.StripeClient) -> None:
    method = bank.v1.payment_methods.create(
        {"type": "card", "card": {"number": "4000000000009995", "exp_month": 1, "exp_year": 2040, "cvc": "123"}}
    )
    assert method.card is not None
    assert method.card.last4 == "9995"
    intent = created(bank)
    with pytest.raises(stripe.CardError):
        confirmed(bank, intent.id, method.id)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        confirmed(bank, intent.id, method.id)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        confirmed(bank, created(bank).id, method.id)


def test_three_d_secure_approved(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.type == "redirect_to_url"
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.return_url == RETURN_URL
    assert str(intent.next_action.redirect_to_url.url).startswith(f"{world.url}/3ds/{intent.id}")
    back = urllib.parse.urlsplit(answer_3ds(world, intent.id, "approve"))
    query = dict(urllib.parse.parse_qsl(back.query))
    assert back.netloc == "store.example"
    assert query == {
        "order": "7",
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.client_secret,
        "redirect_status": "succeeded",
    }
    assert bank.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    answer_3ds(world, intent.id, "reject")  # a second click changes nothing
    assert bank.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_three_d_secure_rejected_charges_nothing(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_threeDSecure2Required")
    assert "redirect_status=failed" in answer_3ds(world, intent.id, "reject")
    after = bank.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.latest_charge) == ("requires_payment_method", None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert confirmed(bank, intent.id, "pm_card_visa").status == "succeeded"


def test_three_d_secure_approved_and_then_declined(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_threeDSecureRequiredChargeDeclined")
    assert "redirect_status=failed" in answer_3ds(world, intent.id, "approve")
    after = bank.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert after.status == "requires_payment_method"
    assert isinstance(after.latest_charge, stripe.Charge)
    assert after.latest_charge.status == "failed"


def test_another_card_replaces_the_one_that_waits(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    again = bank.v1.payment_intents.confirm(intent.id, {"return_url": RETURN_URL})
    assert again.status == "requires_action"
    assert confirmed(bank, intent.id, "pm_card_visa").status == "succeeded"


def test_off_session_cards_that_want_their_holder_are_declined(bank: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as declined:
        confirmed(bank, created(bank).id, "pm_card_authenticationRequired", off_session=True)
    assert declined.value.code == "authentication_required"


def test_canceling(bank: stripe.StripeClient) -> None:
    intent = created(bank)
    canceled = bank.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    calls: list[Callable[[], object]] = [
        lambda: bank.v1.payment_intents.cancel(intent.id),
        lambda: confirmed(bank, intent.id, "pm_card_visa"),
        lambda: bank.v1.payment_intents.cancel(paid(bank).id),
    ]
    for refused_call in calls:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            refused_call()
        assert refused.value.code == "payment_intent_unexpected_state"
    waiting = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    assert bank.v1.payment_intents.cancel(waiting.id).status == "canceled"


def test_a_bank_account_is_processing_before_it_settles(bank: stripe.StripeClient) -> None:
    good = confirmed(bank, created(bank).id, "pm_usBankAccount_success")
    empty = confirmed(bank, created(bank).id, "pm_usBankAccount_insufficientFunds")
    never = confirmed(bank, created(bank).id, "pm_usBankAccount_processing")
    assert {good.status, empty.status, never.status} == {"processing"}
    with pytest.raises(stripe.InvalidRequestError, match="status of processing"):
        bank.v1.payment_intents.cancel(never.id)

    def status_after(intent: stripe.PaymentIntent) -> str | None:
        status = bank.v1.payment_intents.retrieve(intent.id).status
        return None if status == "processing" else status

    assert eventually(lambda: status_after(good), what="the settlement") == "succeeded"
    assert eventually(lambda: status_after(empty), what="the failure") == "requires_payment_method"
    assert status_after(never) is None


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "eur"}, "parameter_missing", "amount"),
        ({"amount": 49, "currency": "eur"}, "amount_too_small", "amount"),
        ({"amount": 29, "currency": "gbp"}, "amount_too_small", "amount"),
        ({"amount": 100_000_000, "currency": "eur"}, "amount_too_large", "amount"),
        ({"amount": "ten", "currency": "eur"}, "parameter_invalid_integer", "amount"),
        ({"amount": 1001, "currency": "kwd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 1050, "currency": "isk"}, "parameter_invalid_integer", "amount"),
        ({"amount": 1000, "currency": "xyz"}, None, "currency"),
        ({"amount": 1000}, "parameter_missing", "currency"),
        ({"amount": 1000, "currency": "eur", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": 1000, "currency": "eur", "payment_method": "pm_none"}, "resource_missing", "payment_method"),
        ({"amount": 1000, "currency": "eur", "confirm": True}, "payment_intent_unexpected_state", None),
        ({"amount": 1000, "currency": "eur", "metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
    ],
)
def test_wrong_parameters_are_refused(
    bank: stripe.StripeClient, params: dict[str, object], code: str | None, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        bank.v1.payment_intents.create(params)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.http_status == 400


def test_zero_decimal_amounts(bank: stripe.StripeClient) -> None:
    assert bank.v1.payment_intents.create({"amount": 50, "currency": "JPY"}).currency == "jpy"


def test_a_redirecting_intent_needs_a_return_url(bank: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        bank.v1.payment_intents.confirm(created(bank).id, {"payment_method": "pm_card_visa"})
    by_card = created(bank, payment_method_types=["card"])
    waiting = bank.v1.payment_intents.confirm(by_card.id, {"payment_method": "pm_card_authenticationRequired"})
    assert waiting.next_action is not None
    assert waiting.next_action.type == "use_stripe_sdk"


def test_unknown_ids(bank: stripe.StripeClient) -> None:
    for look in (
        lambda: bank.v1.payment_intents.retrieve("pi_none"),
        lambda: bank.v1.charges.retrieve("ch_none"),
        lambda: bank.v1.refunds.retrieve("re_none"),
        lambda: bank.v1.events.retrieve("evt_none"),
        lambda: bank.v1.payment_methods.retrieve("pm_none"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            look()
        assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


@pytest.mark.parametrize(
    ("number", "code"),
    [("4242424242424241", "incorrect_number"), ("4111111111111111", "card_declined"), ("42", "incorrect_number")],
)
def test_only_test_cards_become_payment_methods(bank: stripe.StripeClient, number: str, code: str) -> None:
    with pytest.raises(stripe.CardError) as refused:
        bank.v1.payment_methods.create(
            {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}}
        )
    assert refused.value.code == code


def test_no_card_number_is_ever_written(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    bank.v1.payment_methods.create(
        {"type": "card", "card": {"number": "4000056655665556", "exp_month": 12, "exp_year": 2040, "cvc": "987"}}
    )
    assert "4000056655665556" not in (world.data / "bank.jsonl").read_text()


def test_the_updated_intent(bank: stripe.StripeClient) -> None:
    intent = created(bank, metadata={"order": "7", "shop": "a"})
    updated = bank.v1.payment_intents.update(
        intent.id, {"amount": 2500, "metadata": {"order": "8", "shop": ""}, "payment_method": "pm_card_visa"}
    )
    assert (updated.amount, updated.status) == (2500, "requires_confirmation")
    assert updated.metadata.to_dict() == {"order": "8"}
    done = bank.v1.payment_intents.update(paid(bank).id, {"metadata": {"order": "9"}})
    assert done.metadata.to_dict() == {"order": "9"}
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        bank.v1.payment_intents.update(done.id, {"amount": 1})


@pytest.mark.parametrize("key", ["sk_live_123", "sk_nonsense", "pk_live_1", "rk_test_1"])
def test_other_keys_than_test_keys_are_refused(world: SandboxProcess, key: str) -> None:
    client = stripe.StripeClient(key, base_addresses={"api": world.url}, max_network_retries=0)
    with pytest.raises(stripe.AuthenticationError) as refused:
        client.v1.balance.retrieve()
    assert refused.value.http_status == 401


def test_a_publishable_key_only_makes_payment_methods(world: SandboxProcess) -> None:
    client = stripe.StripeClient("pk_test_1", base_addresses={"api": world.url}, max_network_retries=0)
    assert client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}}).id
    with pytest.raises(stripe.PermissionError):
        created(client)


def test_balance_and_account_suffice_for_a_key_check(bank: stripe.StripeClient) -> None:
    paid(bank)
    assert bank.v1.balance.retrieve().available[0].currency
    assert bank.v1.accounts.retrieve_current().charges_enabled
