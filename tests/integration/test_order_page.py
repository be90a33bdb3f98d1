"""The order page: nobody else's data, and cheap to ask whether anything has changed."""

from typing import Any

import pytest
from django.http import HttpResponse

from outbox.models import Decision, OutboxRecord
from outbox.timeline import timeline
from payments.models import Payment, Refund
from shop.decisions import cancel_order
from shop.models import Order, Shipment
from shop.simulation.pages import Form
from tests.integration.orders import offer
from tests.integration.shopper import Shopper, read

pytestmark = pytest.mark.django_db


@pytest.fixture
def address() -> str:
    return Shopper().order(offer(price=2000))


def get(path: str, **headers: str) -> HttpResponse:
    """As anybody who knows the address would: no session."""
    return Shopper().get(path, headers=headers)


CLAIMED = {"token": "7b0e0a5e-5d43-4f4f-9c51-0d6a2f1c9a11", "claimed_by": "w", "due_at": "2026-01-01T00:00Z"}
GIVEN_BACK = {"token": None, "claimed_by": "", "due_at": None}


def payment_becomes(status: str, **fields: Any) -> None:
    """As a worker writes it: claimed, then the result."""
    Payment.objects.update(status="processing", attempts=1, **CLAIMED)
    if status != "processing":
        Payment.objects.update(status=status, **GIVEN_BACK, **fields)


def test_it_shows_the_order_and_nobody_elses(address: str) -> None:
    other = Shopper().order(offer(), name="Grace Hopper", email="grace@example.org", address="Elsewhere 7")
    shown = get(address).content.decode()
    for text in ("Ada Lovelace", "ada@example.org", "Am Sandtorkai 1", "20457 Hamburg", "Germany", "€24.90"):
        assert text in shown
    for text in ("Grace", "grace@", "Elsewhere", other):
        assert text not in shown


@pytest.mark.parametrize(
    "other", ["/orders/{pk}/", "/orders/{number}/", "/orders/{token}x/", "/orders/%00/", "/orders/' OR 1=1/"]
)
def test_no_other_address_finds_it(address: str, other: str) -> None:
    order = Order.objects.get()
    found = get(other.format(pk=order.pk, number=order.number, token=order.token))
    assert found.status_code == 404
    assert "Ada" not in found.content.decode()


def test_nobody_stores_indexes_or_passes_it_on(address: str) -> None:
    response = get(address)
    assert response["Cache-Control"] == "private, no-store"
    assert "noindex" in response["X-Robots-Tag"]
    assert response["Referrer-Policy"] == "same-origin"


def test_unchanged_is_304_without_a_session(address: str, django_assert_num_queries: Any) -> None:
    first = get(address)
    shopper = Shopper()
    # The order with its shipping, the payment, and the refunds.
    with django_assert_num_queries(3):
        unchanged = shopper.get(address, headers={"If-None-Match": first["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (unchanged["ETag"], unchanged["Cache-Control"]) == (first["ETag"], "private, no-store")
    assert first["ETag"] in first.content.decode().replace("&quot;", '"')


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("processing", {}),
        ("unknown", {}),
        ("declined", {"intent_id": "pi_1", "failure_code": "insufficient_funds"}),
        ("requires_action", {"intent_id": "pi_1", "action_url": "https://bank.example/3ds"}),
        ("succeeded", {"intent_id": "pi_1", "settled_at": "2026-01-01T00:00Z"}),
    ],
)
def test_every_step_of_the_payment_changes_the_tag(address: str, status: str, fields: dict[str, Any]) -> None:
    before = get(address)["ETag"]
    payment_becomes(status, **fields)
    fresh = get(address, **{"If-None-Match": before})
    assert fresh.status_code == 200
    assert fresh["ETag"] != before


@pytest.mark.parametrize("change", [{"card_no": 2}, {"blocked_reason": "wrong key"}, {"failure_code": "lost_card"}])
def test_every_visible_field_of_the_payment_changes_the_tag(address: str, change: dict[str, Any]) -> None:
    before = get(address)["ETag"]
    Payment.objects.update(**change)
    assert get(address)["ETag"] != before


def test_the_orders_version_changes_the_tag(address: str) -> None:
    before = get(address)["ETag"]
    Order.objects.update(version=2)
    assert get(address, **{"If-None-Match": before}).status_code == 200


def test_looking_changes_nothing(address: str) -> None:
    records = OutboxRecord.objects.count()
    version = Order.objects.get().version
    get(address)
    assert (OutboxRecord.objects.count(), Order.objects.get().version) == (records, version)
    assert Shopper().post(address, {}).status_code in (403, 405)


def test_it_asks_again_while_something_can_change_also_without_scripts(address: str) -> None:
    assert 'http-equiv="refresh"' in get(address).content.decode()
    Payment.objects.update(status="canceled", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="cancelled")
    ended = get(address).content.decode()
    assert 'data-poll="never"' in ended
    assert 'http-equiv="refresh"' not in ended


def test_a_sold_out_order_names_what_was_short() -> None:
    lamp, rope = offer(stock=1), offer(stock=9)
    shopper = Shopper()
    shopper.put(lamp)
    shopper.put(rope)
    data = shopper.filled()
    lamp.stock.reserved = 1
    lamp.stock.save()
    shopper.send(data)
    shown = get(Order.objects.get().get_absolute_url()).content.decode()
    assert "Sold out" in shown
    assert "Nothing was charged." in shown
    assert shown.count("Not enough left") == 1


# --- another card --------------------------------------------------------------------------------


@pytest.fixture
def declined(address: str) -> Shopper:
    """A shopper who looks at the order after a decline."""
    payment_becomes("declined", intent_id="pi_1", failure_code="expired_card")
    Order.objects.update(status="awaiting_payment")
    Order.objects.update(status="payment_declined", hold_until="2126-01-01T12:30Z")
    return Shopper()


def card_form(shopper: Shopper, address: str) -> Form:
    form = read(shopper.get(address)).form_with("payment_method")
    assert form is not None
    return form


def test_a_declined_order_takes_another_card(declined: Shopper, address: str) -> None:
    page = declined.get(address).content.decode()
    assert "the card has expired" in page
    assert "1 January, 12:30 UTC" in page
    form = card_form(declined, address)
    assert declined.post(form.action, form.filled({"payment_method": "pm_card_mastercard"}))["Location"] == address
    payment = Payment.objects.get()
    assert (payment.status, payment.payment_method, payment.card_no) == ("unprocessed", "pm_card_mastercard", 2)
    assert "Your payment is on its way" in declined.get(address).content.decode()


def test_another_card_sent_twice_is_one_card(declined: Shopper, address: str) -> None:
    form = card_form(declined, address)
    for _ in range(2):
        assert declined.post(form.action, form.filled({"payment_method": "pm_card_visa"})).status_code == 302
    assert Payment.objects.get().card_no == 2
    assert "not waiting for a card any more" in " ".join(read(declined.get(address)).alerts)


@pytest.mark.parametrize("card", ["", "4242424242424242", "<script>"])
def test_another_card_must_be_an_id(declined: Shopper, address: str, card: str) -> None:
    form = card_form(declined, address)
    declined.post(form.action, {**form.filled({}), "payment_method": card})
    assert "enter your card" in " ".join(read(declined.get(address)).alerts)
    assert Payment.objects.get().card_no == 1


def test_another_card_needs_our_own_form(declined: Shopper, address: str) -> None:
    assert declined.post(address, {"payment_method": "pm_card_visa"}).status_code == 403
    assert Payment.objects.get().card_no == 1


def test_a_decline_that_the_order_has_not_heard_of_shows_no_form_yet(declined: Shopper, address: str) -> None:
    Order.objects.update(status="awaiting_payment", hold_until=None)
    page = declined.get(address)
    assert read(page).form_with("payment_method") is None
    assert 'data-poll="soon"' in page.content.decode()


def test_a_parcel_that_has_left_shows_its_tracking(address: str) -> None:
    order = Order.objects.get()
    payment_becomes("succeeded", intent_id="pi_1", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="accepted")
    Order.objects.update(status="shipped")
    Shipment.objects.create(
        reference="W-1", order=order, kind="shipped", carrier="Post & Co", tracking="PX<1>", reported_by="warehouse"
    )
    page = get(address).content.decode()
    assert "On its way to you" in page
    assert "Post &amp; Co, parcel <strong>PX&lt;1&gt;</strong>" in page


def test_over_the_limit_another_card_is_not_taken(declined: Shopper, address: str, settings: Any) -> None:
    settings.CARD_TRIES_GLOBAL = 1
    form = card_form(declined, address)
    assert declined.post(form.action, form.filled({"payment_method": "pm_card_visa"})).status_code == 302
    Payment.objects.update(status="processing", attempts=1, **CLAIMED)
    Payment.objects.update(status="declined", **GIVEN_BACK)
    Order.objects.update(status="payment_declined")
    answer = declined.post(form.action, form.filled({"payment_method": "pm_card_visa"}))
    assert (answer.status_code, int(answer["Retry-After"]) <= 60) == (429, True)
    assert Payment.objects.get().card_no == 2


# --- back from the bank --------------------------------------------------------------------------

RETURNED = {"payment_intent": "pi_1", "payment_intent_client_secret": "pi_1_secret", "redirect_status": "succeeded"}


def test_a_return_from_the_bank_only_asks_it_again_and_not_too_often(address: str) -> None:
    payment_becomes("requires_action", intent_id="pi_1", action_url="https://bank.example/3ds")
    for _ in range(2):
        answer: Any = Shopper().client.get(address, RETURNED)
        assert (answer.status_code, answer["Location"], answer["Cache-Control"]) == (302, address, "private, no-store")
    payment = Payment.objects.get()
    assert (payment.status, payment.nudges, payment.due_at is not None) == ("requires_action", 1, True)


@pytest.mark.parametrize("status", ["unprocessed", "declined", "unknown"])
def test_a_return_that_nobody_waits_for_asks_nobody(address: str, status: str) -> None:
    if status != "unprocessed":
        payment_becomes(status, intent_id="pi_1")
    assert Shopper().client.get(address, RETURNED)["Location"] == address
    assert Payment.objects.get().nudges == 0


# --- cancelled by the shopper --------------------------------------------------------------------


def cancel_form(shopper: Shopper, address: str) -> Form | None:
    return read(shopper.get(address)).form_with("action")


def test_the_shopper_cancels_an_unpaid_order(address: str) -> None:
    shopper = Shopper()
    form = cancel_form(shopper, address)
    assert form is not None
    assert shopper.post(form.action, form.filled({}))["Location"] == address
    decision = Decision.objects.get()
    assert (decision.actor, decision.after, Order.objects.get().status) == ("shopper", "cancelling", "cancelling")
    assert cancel_form(shopper, address) is None
    assert "You asked us to cancel your order" in shopper.get(address).content.decode()


def test_cancelling_needs_our_own_form(address: str) -> None:
    assert Shopper().post(address, {"action": "cancel"}).status_code == 403
    assert not Decision.objects.exists()


def test_too_late_to_cancel_is_a_kind_sentence(address: str) -> None:
    shopper = Shopper()
    form = cancel_form(shopper, address)
    assert form is not None
    payment_becomes("succeeded", intent_id="pi_1", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="accepted")
    Order.objects.update(status="shipped")
    assert shopper.post(form.action, form.filled({})).status_code == 302
    assert "can no longer be cancelled" in shopper.get(address).content.decode()
    assert Order.objects.get().status == "shipped"


def test_the_timeline_shows_what_is_meant_for_customers_and_no_more(address: str) -> None:
    page = get(address).content.decode()
    assert "We have your order" in page
    assert "InventoryReserved" not in page


def test_the_page_asks_only_for_what_it_shows(address: str, django_assert_num_queries: Any) -> None:
    """Sources with words for customers are known by name: a public entry of any other would never be seen."""
    order = Order.objects.get()
    cancel_order(order_id=order.pk, actor="shopper", reason="on the order page")
    everything = timeline(order.pk)
    assert {entry.source for entry in everything if entry.public} == {"outbox", "decision"}
    # Staged records, the log, decisions.
    with django_assert_num_queries(3):
        assert timeline(order.pk, public=True) == [entry for entry in everything if entry.public]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("awaiting_approval", "a person of ours looks after your money"),
        ("pending", "€24.90 goes back to your card; this page says when the bank has taken it"),
        ("succeeded", "We have sent €24.90 back to your card"),
        ("failed", "could not put the money on your card: a person of ours has been told"),
    ],
)
def test_what_has_come_of_the_refund_is_said(address: str, status: str, says: str) -> None:
    payment_becomes("succeeded", intent_id="pi_1", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="cancelled")
    before = get(address)["ETag"]
    settled = "2026-01-01T00:00Z" if status in ("succeeded", "failed") else None
    Refund.objects.create(
        payment=Payment.objects.get(), amount=2490, currency="EUR", request_token="t", status=status, settled_at=settled
    )
    page = get(address)
    assert says in page.content.decode()
    assert ("We have sent" in page.content.decode()) == (status == "succeeded")
    assert (page["ETag"] != before) == (status != "awaiting_approval")


def test_a_part_is_sent_and_the_rest_tried_again(address: str) -> None:
    payment_becomes("succeeded", intent_id="pi_1", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="cancelled")
    payment = Payment.objects.get()

    def refund(status: str, amount: int) -> str:
        settled = None if status == "unprocessed" else "2026-01-01T00:00Z"
        name = f"{status}:{amount}:{payment.refunds.count()}"
        payment.refunds.create(amount=amount, currency="EUR", request_token=name, status=status, settled_at=settled)
        return get(address).content.decode()

    assert "We have sent €5.00 back" in refund("succeeded", 500)
    assert "The bank could not put more on your card" in refund("failed", 1990)
    again = refund("unprocessed", 1990)
    assert "€19.90 more goes back to your card" in again
    assert "could not put" not in again
    whole = refund("succeeded", 1990)
    assert "We have sent €24.90 back" in whole
    assert 'data-poll="rarely"' in whole


def test_a_parcel_that_has_left_is_still_looked_at_now_and_then_but_not_reloaded(address: str) -> None:
    payment_becomes("succeeded", intent_id="pi_1", settled_at="2026-01-01T00:00Z")
    Order.objects.update(status="accepted")
    Order.objects.update(status="shipped")
    page = get(address).content.decode()
    assert 'data-poll="rarely"' in page
    assert 'http-equiv="refresh"' not in page
