"""The store while nothing can be charged: it says so, keeps the carts, and opens again."""

import datetime as dt

import pytest
from django.db.models.functions import Now

from payments import breaker
from payments.models import Breaker
from shop.models import Order
from tests.integration.orders import offer
from tests.integration.shopper import Shopper, read

pytestmark = pytest.mark.django_db(transaction=True)


def stop() -> None:
    breaker.hold_open(actor="operator:olga", reason="the bank is away")
    Breaker.objects.update(open_since=Now() - dt.timedelta(hours=1))


def test_orders_are_not_taken_and_the_cart_stays() -> None:
    lamp = offer()
    shopper = Shopper()
    shopper.put(lamp)
    form = shopper.filled()
    stop()
    for answer in (shopper.get("/checkout/"), shopper.send(form), shopper.get("/cart/")):
        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
        assert "We cannot take orders right now" in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
    assert not Order.objects.exists()
    assert "Good" in shopper.get("/cart/").content.decode(), "the cart is shown"
    assert 'href="/checkout/"' not in shopper.get("/cart/").content.decode()
    assert shopper.change(lamp, quantity="2").status_code == 302, "and can be changed"
    assert shopper.get("/").status_code == 200
    breaker.automatic(actor="operator:olga", reason="it is back")
    assert shopper.get("/cart/").status_code == 200
    assert shopper.send(shopper.filled()).status_code == 302
    assert Order.objects.get().lines.get().quantity == 2


def test_a_form_that_became_an_order_still_leads_to_it() -> None:
    shopper = Shopper()
    shopper.put(offer())
    form = shopper.filled()
    where = shopper.send(form)["Location"]
    stop()
    again = shopper.send(form)
    assert (again.status_code, again["Location"]) == (302, where)
    assert shopper.get(where).status_code == 200
    assert read(shopper.get("/cart/")).alerts == []
    assert shopper.get("/cart/").status_code == 200, "an empty cart has nothing to wait for"
