"""The checkout from the page: one form is one order, the last piece has one owner, nothing typed is lost."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse

from outbox import crash_points
from outbox.models import OutboxRecord
from payments.models import Payment
from shop.models import Order, OrderLine, Product, ShippingMethod, Stock
from shop.services import MAX_QUANTITY
from tests.integration.orders import SHIPPING, offer
from tests.integration.shopper import ANSWERS, Shopper, checkout_form, read
from tests.integration.test_placement import sent_to_the_server
from tests.threads import together

pytestmark = pytest.mark.django_db
at_once = pytest.mark.django_db(transaction=True)  # real threads, real commits


def ready(*products: Product) -> Shopper:
    """A shopper with these in the cart."""
    shopper = Shopper()
    for product in products:
        shopper.put(product)
    return shopper


def complaint(response: HttpResponse, *, status: int) -> str:
    assert response.status_code == status
    return " ".join(read(response).alerts)


def nothing_written() -> bool:
    return not (Order.objects.exists() or Payment.objects.exists() or OutboxRecord.objects.exists())


# --- one form, one order --------------------------------------------------------------------------


def test_from_the_product_page_to_the_order_page() -> None:
    lamp, rope = offer(price=2500), offer(price=700)
    shopper = ready(lamp)
    shopper.put(rope, 2)
    response = shopper.send(shopper.filled(address_2="3rd floor"))
    order = Order.objects.get()
    assert response["Location"] == f"/orders/{order.token}/"
    assert (order.status, order.subtotal, order.total) == ("placed", 3900, 3900 + SHIPPING)
    assert (order.name, order.email, order.address_2, order.country) == (
        *("Ada Lovelace", "ada@example.org", "3rd floor", "DE"),
    )
    assert set(order.lines.values_list("product", "quantity", "unit_price", "hold")) == {
        (lamp.pk, 1, 2500, "held"),
        (rope.pk, 2, 700, "held"),
    }
    payment = Payment.objects.get()
    assert (payment.order_id, payment.amount, payment.payment_method) == (order.pk, order.total, "pm_card_visa")
    assert "Nothing in it yet" in shopper.get("/cart/").content.decode()


@at_once
def test_the_same_form_sent_twice_at_once_is_one_order() -> None:
    shopper = ready(offer())
    data = shopper.filled()
    answers = together(*(partial(shopper.twin().send, data) for _ in range(2)))
    order = Order.objects.get()
    assert [answer["Location"] for answer in answers] == [order.get_absolute_url()] * 2
    assert (Payment.objects.count(), OrderLine.objects.count()) == (1, 1)
    assert OutboxRecord.objects.filter(type="OrderPlaced").count() == 1
    assert Stock.objects.get().reserved == 1


def test_the_form_sent_again_after_the_order_leads_to_it_and_spares_the_next_cart() -> None:
    lamp, rope = offer(), offer()
    shopper = ready(lamp)
    data = shopper.filled()
    first = shopper.send(data)
    shopper.put(rope)
    again = shopper.send(data)
    assert again["Location"] == first["Location"]
    assert Order.objects.count() == 1
    assert rope.name in shopper.get("/cart/").content.decode()


def test_the_form_sent_again_finds_its_order_even_if_the_shop_has_changed() -> None:
    lamp = offer()
    shopper = ready(lamp)
    data = shopper.filled()
    first = shopper.send(data)
    Product.objects.update(price=9900, active=False)
    ShippingMethod.objects.update(active=False)
    assert shopper.send(data)["Location"] == first["Location"]


def test_the_same_checkout_with_other_details_is_a_conflict_that_names_the_order() -> None:
    shopper = ready(offer())
    data = shopper.filled()
    shopper.send(data)
    order = Order.objects.get()
    response = shopper.send({**data, "address": "Elsewhere 2", "payment_method": "pm_card_mastercard"})
    assert f"already became order {order.number}" in complaint(response, status=409)
    assert order.get_absolute_url() in read(response).links
    assert "Elsewhere 2" in response.content.decode()
    assert (Order.objects.count(), Payment.objects.get().payment_method) == (1, "pm_card_visa")


def test_two_tabs_share_the_checkout_until_the_cart_changes() -> None:
    lamp, rope = offer(), offer()
    shopper = ready(lamp)
    one, other = shopper.filled(), shopper.filled()
    assert one["checkout_token"] == other["checkout_token"]
    shopper.put(rope)
    assert shopper.filled()["checkout_token"] != one["checkout_token"]


def test_a_form_from_before_the_cart_changed_is_shown_again_with_what_was_typed() -> None:
    lamp, rope = offer(), offer()
    shopper = ready(lamp)
    old = shopper.filled(name="Grace Hopper", country="SE", payment_method="pm_card_visa_chargeDeclined")
    shopper.put(rope)
    response = shopper.send(old)
    assert "Your cart has changed" in complaint(response, status=409)
    assert nothing_written()
    new = checkout_form(response).filled({})
    kept = {name: new[name] for name in (*ANSWERS, "shipping")}
    assert kept == {name: old[name] for name in kept}
    assert new["checkout_token"] != old["checkout_token"]
    assert shopper.send(new).status_code == 302
    assert Order.objects.get().lines.count() == 2


def test_a_token_that_nobody_handed_out_is_refused() -> None:
    shopper = ready(offer())
    data = {**shopper.filled(), "checkout_token": str(uuid.uuid4())}
    assert "Your cart has changed" in complaint(shopper.send(data), status=409)
    assert "out of date" in complaint(shopper.send({**data, "checkout_token": "1 OR 1=1"}), status=422)
    assert nothing_written()


def test_another_shopper_cannot_send_my_checkout_as_theirs() -> None:
    mine, theirs = ready(offer()), ready(offer())
    data = {**theirs.filled(), "checkout_token": mine.filled()["checkout_token"]}
    assert theirs.send(data).status_code == 409
    assert nothing_written()


@at_once
def test_one_order_is_five_statements_and_two_commits(settings: Any) -> None:
    """The session is read, the try counted; between BEGIN and COMMIT the order is written and the cart emptied."""
    settings.CARD_TRIES_PER_SESSION = 10
    shopper = Shopper()
    shopper.order(offer())
    shopper.put(offer())
    data = shopper.filled()
    sent = sent_to_the_server(lambda: shopper.send(data))
    assert sent == ["Bind", "Bind", "Query", "Bind", "Query"]
    assert Order.objects.count() == 2


class NotCommitted(Exception):
    """Nobody knows why."""


@at_once
def test_a_cart_stays_until_its_order_is_there() -> None:
    """They are one transaction, whatever ends it."""
    shopper = ready(offer())
    shopper.client.raise_request_exception = False
    data = shopper.filled()

    def give_up(name: str) -> None:
        if name == "O1":
            raise NotCommitted

    with crash_points.watching(give_up):
        assert shopper.send(data).status_code == 500
    assert nothing_written()
    assert len(_lines_in_session(shopper)) == 1
    with crash_points.watching(lambda name: seen.update({name: bool(shopper.client.session.get("cart"))})):
        seen: dict[str, bool] = {}
        assert shopper.send(data)["Location"] == Order.objects.get().get_absolute_url()
    assert (seen["O2"], seen["O3"]) == (False, False)


# --- sold out ------------------------------------------------------------------------------------


@at_once
def test_fifty_shoppers_at_once_for_the_last_piece() -> None:
    clock = offer(stock=1)
    shoppers = [Shopper() for _ in range(50)]

    def prepare(shopper: Shopper) -> dict[str, str]:
        try:
            shopper.put(clock)
            return shopper.filled()
        finally:
            connection.close()

    def send(shopper: Shopper, data: dict[str, str]) -> HttpResponse:
        try:
            return shopper.send(data)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=16) as pool:
        forms = list(pool.map(prepare, shoppers))
        answers = list(pool.map(send, shoppers, forms))

    winner = Order.objects.get(status="placed")
    assert Payment.objects.get().order_id == winner.pk
    losers = [shopper for shopper, answer in zip(shoppers, answers, strict=True) if answer["Location"] == "/cart/"]
    assert len(losers) == 49
    assert Order.objects.filter(status="cancelled", process={"unavailable": [clock.pk]}).count() == 49
    stock = Stock.objects.get()
    assert (stock.on_hand, stock.reserved) == (1, 1)
    for shopper in losers:
        told = " ".join(read(shopper.get("/cart/")).alerts)
        assert f"{clock.name} has just been sold out." in told
        assert "nothing was charged" in told


def test_a_short_line_is_named_with_what_is_left_and_another_try_is_another_checkout() -> None:
    lamp, rope = offer(stock=3), offer(stock=9)
    shopper = ready(rope)
    shopper.put(lamp, 3)
    data = shopper.filled()
    Stock.objects.filter(pk=lamp.pk).update(reserved=1)
    assert shopper.send(data)["Location"] == "/cart/"
    cart = shopper.get("/cart/")
    told = " ".join(read(cart).alerts)
    assert f"Only 2 of {lamp.name} left: you asked for 3." in told
    assert rope.name not in told
    assert rope.name in cart.content.decode()
    assert shopper.send(data)["Location"] == "/cart/", "the old form still tells the same"
    assert Order.objects.count() == 1
    shopper.change(lamp, quantity="2")
    fresh = shopper.filled()
    assert fresh["checkout_token"] != data["checkout_token"]
    assert shopper.send(fresh)["Location"].startswith("/orders/")
    assert list(Order.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "placed"]


def test_the_same_cart_can_be_tried_again_once_there_is_enough() -> None:
    lamp = offer(stock=1)
    shopper = ready(lamp)
    data = shopper.filled()
    Stock.objects.update(reserved=1)
    shopper.send(data)
    Stock.objects.update(reserved=0)
    assert shopper.send(shopper.filled())["Location"].startswith("/orders/")


# --- refusals ------------------------------------------------------------------------------------


def test_a_changed_price_is_shown_before_anything_is_ordered() -> None:
    lamp = offer(price=2000)
    shopper = ready(lamp)
    data = shopper.filled(name="Grace Hopper")
    Product.objects.update(price=2100)
    response = shopper.send(data)
    assert "A price has changed" in complaint(response, status=409)
    assert nothing_written()
    again = checkout_form(response).filled({})
    assert again["name"] == "Grace Hopper"
    assert shopper.send(again).status_code == 302
    assert Order.objects.get().total == 2100 + SHIPPING


@pytest.mark.parametrize("total", ["", "1", "-2490", "2490.00", "9" * 30, "٢٤٩٠"])
def test_a_total_that_the_page_never_showed_is_not_accepted(total: str) -> None:
    shopper = ready(offer(price=2000))
    data = {**shopper.filled(), "total_standard": total}
    assert "A price has changed" in complaint(shopper.send(data), status=409)
    assert nothing_written()


def test_an_amount_that_the_bank_refuses_is_said_in_the_form() -> None:
    yacht = offer(price=90_000_000)
    shopper = ready(yacht)
    shopper.put(yacht)
    assert "One order can be at most €999,999.99" in complaint(shopper.send(shopper.filled()), status=409)
    assert nothing_written()


def test_a_product_that_is_no_longer_sold_is_said_in_the_form() -> None:
    lamp = offer()
    shopper = ready(lamp)
    data = shopper.filled()
    Product.objects.update(active=False)
    assert "no longer sold" in complaint(shopper.send(data), status=409)
    assert "No longer sold: please remove it." in shopper.get("/cart/").content.decode()
    assert nothing_written()


def test_a_way_of_shipping_that_is_no_longer_offered_is_said_in_the_form() -> None:
    shopper = ready(offer())
    data = shopper.filled()
    ShippingMethod.objects.update(active=False)
    assert "no longer offered" in complaint(shopper.send(data), status=409)
    assert nothing_written()


def test_every_missing_answer_is_listed_and_linked() -> None:
    shopper = ready(offer())
    token = shopper.filled()["checkout_token"]
    response = shopper.send({"checkout_token": token, "csrfmiddlewaretoken": shopper.filled()["csrfmiddlewaretoken"]})
    complaint(response, status=422)
    anchors = {link for link in read(response).links if link.startswith("#")}
    fields = ("email", "name", "address", "postal_code", "city", "country")
    assert anchors >= {f"#id_{name}" for name in fields} | {"#shipping", "#card"}
    page = response.content.decode()
    assert all(f'id="{anchor[1:]}"' in page for anchor in anchors)
    assert nothing_written()


@pytest.mark.parametrize(
    "card", ["4242424242424242", "4242 4242 4242 4242", "tok_visa", "pm_", "pm_x\n", "pm_" + "x" * 300]
)
def test_what_is_no_payment_method_is_neither_taken_nor_shown_again(card: str) -> None:
    shopper = ready(offer())
    response = shopper.send({**shopper.filled(), "payment_method": card})
    assert "Please enter your card again." in response.content.decode()
    assert response.status_code == 422
    hidden = next(each for each in checkout_form(response).fields if each.name == "payment_method")
    assert (hidden.kind, hidden.value) == ("hidden", "")
    assert nothing_written()


def test_a_card_that_was_entered_is_kept_while_something_else_is_corrected() -> None:
    shopper = ready(offer())
    response = shopper.send({**shopper.filled(payment_method="pm_card_mastercard"), "email": "no address"})
    assert response.status_code == 422
    form = checkout_form(response)
    assert form.filled({})["payment_method"] == "pm_card_mastercard"
    assert form.fields[[each.name for each in form.fields].index("payment_method")].value == "pm_card_mastercard"


# --- hostile input -------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '" onfocus="alert(1)" autofocus="',
    "{{ settings.SECRET_KEY }}{% debug %}",
    "'; DROP TABLE shop_order; --",
    "Ada\r\nBcc: everybody@example.org",
    "nul\x00byte",
    "\u2028line\u2029ends",
    "\U0001f600" * 50,
    "\u202egnirts desrever",
    "A" * 5000,
    "-1",
    "9" * 40,
    "%00",
    "../../etc/passwd",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", [*ANSWERS, "address_2", "shipping", "checkout_token", "total_standard"])
def test_hostile_text_in_the_checkout(field: str, text: str) -> None:
    shopper = ready(offer())
    response = shopper.send({**shopper.filled(), field: text})
    assert response.status_code in (302, 409, 422)
    shown = shopper.get(response["Location"]) if response.status_code == 302 else response
    page = shown.content.decode()
    assert "<script>alert" not in page
    assert not re.search(r'<[^>]*" onfocus="alert', page)
    for order in Order.objects.all():
        assert not re.search(r"[\x00-\x1f\u2028\u2029]", "".join([order.name, order.email, order.address, order.city]))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["action", "product", "quantity"])
def test_hostile_text_in_the_cart(field: str, text: str) -> None:
    lamp = offer()
    shopper = ready(lamp)
    response = shopper.change(lamp, **{field: text})
    assert response.status_code == 302
    page = shopper.get("/cart/").content.decode()
    assert "<script>alert" not in page
    assert [each["quantity"] for each in _lines_in_session(shopper)] == [1]


def _lines_in_session(shopper: Shopper) -> list[dict[str, Any]]:
    lines = shopper.client.session["cart"]["lines"]
    return [{"product": int(pk), "quantity": quantity} for pk, quantity in lines.items()]


@pytest.mark.parametrize("quantity", ["0", "-3", "100", "1.5", "one"])
def test_only_quantities_that_can_be_ordered(quantity: str) -> None:
    lamp = offer()
    shopper = ready(lamp)
    shopper.change(lamp, quantity=quantity)
    assert f"from 1 to {MAX_QUANTITY}" in " ".join(read(shopper.get("/cart/")).alerts)
    assert [each["quantity"] for each in _lines_in_session(shopper)] == [1]


def test_adding_stops_at_what_can_be_ordered() -> None:
    lamp = offer(stock=500)
    shopper = ready(lamp)
    shopper.put(lamp, MAX_QUANTITY)
    assert f"at most {MAX_QUANTITY}" in " ".join(read(shopper.get("/cart/")).alerts)
    assert [each["quantity"] for each in _lines_in_session(shopper)] == [MAX_QUANTITY]


def test_what_is_not_sold_cannot_be_added_nor_set() -> None:
    lamp, gone = offer(), offer()
    Product.objects.filter(pk=gone.pk).update(active=False)
    shopper = ready(lamp)
    for action in ("add", "set"):
        shopper.change(lamp, action=action, product=str(gone.pk))
    assert [each["product"] for each in _lines_in_session(shopper)] == [lamp.pk]
