"""The order page's words, for every order status with every payment status."""

import itertools

import pytest

from payments.models import Payment
from shop.models import Order
from shop.views.order_words import PROGRESS, Poll, Tone, describe

Pay, Status = Payment.Status, Order.Status
NOT_CHARGED, NOT_AGAIN = "Nothing was charged.", "please do not pay again"
EVERY_PAIR = list(itertools.product(Status, Pay))
# The bank may still take the money.
MOVING = {Pay.PROCESSING, Pay.UNKNOWN, Pay.CANCELING}


def words(status: Order.Status, payment: Payment.Status, **fields: object):  # type: ignore[no-untyped-def]
    order, row = Order(status=status), Payment(status=payment, attempts=1, amount=2300, currency="EUR")
    for name, value in fields.items():
        setattr(row, name, value)
    return describe(order=order, payment=row)


@pytest.mark.parametrize(("status", "payment"), EVERY_PAIR)
def test_every_pair_has_words_that_keep_the_promises(status: Order.Status, payment: Payment.Status) -> None:
    said = words(status, payment)
    text = f"{said.headline} {said.text}"
    assert said.headline
    assert text.isprintable()
    assert 1 <= said.reached <= len(PROGRESS)
    if NOT_CHARGED in text:
        assert payment in {Pay.DECLINED, Pay.FAILED, Pay.CANCELED}
    if payment in MOVING and status != Status.SHIPPED:
        assert NOT_AGAIN in text
        assert said.poll is not Poll.NEVER
    if said.tone is Tone.GOOD:
        assert payment == Pay.SUCCEEDED or status == Status.SHIPPED
    if said.reached >= PROGRESS.index("Paid") + 1:
        assert payment == Pay.SUCCEEDED or status == Status.SHIPPED


def test_unknown_says_that_we_confirm_and_nobody_pays_twice() -> None:
    said = words(Status.AWAITING_PAYMENT, Pay.UNKNOWN)
    assert "We are confirming your payment" in said.headline
    assert said.text.endswith("You will not be charged twice: please do not pay again.")


def test_an_answer_that_needs_no_person_is_asked_for_soon() -> None:
    order, payment = Order(status=Status.UNDER_REVIEW), Payment(status=Pay.UNPROCESSED)
    assert describe(order=order, payment=payment).poll is Poll.LATER
    assert describe(order=order, payment=payment, awaits_screening=True).poll is Poll.SOON


def test_sold_out_says_that_nothing_was_charged() -> None:
    said = describe(order=Order(status=Status.CANCELLED, process={"unavailable": [1]}), payment=None)
    assert (said.headline, said.poll, said.stopped) == ("Sold out", Poll.NEVER, True)
    assert NOT_CHARGED in said.text


def test_a_decline_gives_the_reason_in_words() -> None:
    said = words(Status.PAYMENT_DECLINED, Pay.DECLINED, failure_code="insufficient_funds")
    assert "does not hold enough money" in said.text
    assert said.tone is Tone.ASK


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "generic_decline", "fraudulent", ""])
def test_what_must_not_be_passed_on_is_not(code: str) -> None:
    assert "no reason that we could pass on" in words(Status.PAYMENT_DECLINED, Pay.DECLINED, failure_code=code).text


def test_a_blocked_payment_is_ours_to_solve() -> None:
    said = words(Status.AWAITING_PAYMENT, Pay.UNPROCESSED, blocked_reason="create: the bank refused (secret details)")
    assert "a person has been told" in said.text
    assert "secret" not in said.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//bank.example", ""])
def test_only_web_addresses_lead_to_the_bank(url: str) -> None:
    assert words(Status.ACTION_REQUIRED, Pay.REQUIRES_ACTION, action_url=url).action_url == ""


def test_three_d_secure_leads_to_the_bank() -> None:
    said = words(Status.ACTION_REQUIRED, Pay.REQUIRES_ACTION, action_url="https://bank.example/3ds")
    assert said.action_url == "https://bank.example/3ds"


def test_a_cancellation_of_what_no_worker_has_seen_is_sure() -> None:
    assert NOT_CHARGED in words(Status.CANCELLING, Pay.UNPROCESSED, attempts=0).text
    assert NOT_AGAIN in words(Status.CANCELLING, Pay.UNPROCESSED, attempts=1).text
