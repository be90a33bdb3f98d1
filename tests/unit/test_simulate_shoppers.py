"""What the simulated shoppers make of a page."""

import pytest

from shop.management.commands.simulate_shoppers import _percentile
from shop.simulation.pages import Page

CHECKOUT = """
<a href="/products/lamp/">Lamp</a> <a href="/cart/">Cart</a>
<form action="/search/"><input name="q" value="rope"></form>
<div role="alert">Please  check <b>the <br> form</b>.</div>
<form method="post" action="/checkout/">
  <input type="hidden" name="csrfmiddlewaretoken" value="secret">
  <input type="hidden" name="checkout_token" value="t-1">
  <input name="name" value="Ada"> <input type="email" name="email">
  <input name="ignored" value="x" disabled> <input value="nameless">
  <select name="country"><option value="">Choose…</option><option value="AT">Austria</option>
    <option value="DE" selected>Germany</option></select>
  <input type="radio" name="shipping" value="standard" checked> <input type="radio" name="shipping" value="express">
  <input type="radio" name="payment_method" value="pm_card_visa">
  <input type="radio" name="payment_method" value="pm_card_visa_chargeDeclined">
  <input type="checkbox" name="news"> <input type="checkbox" name="terms" checked>
  <textarea name="note">leave it
at the door</textarea>
  <button name="go" value="now">Order</button>
</form>
<input name="outside" value="no form">
"""


def test_links_and_complaints() -> None:
    page = Page.read(CHECKOUT)
    assert page.links == ["/products/lamp/", "/cart/"]
    assert page.alerts == ["Please check the form ."]


def test_the_form_is_sent_as_a_browser_would() -> None:
    form = Page.read(CHECKOUT).form_with("checkout_token")
    assert form is not None
    assert (form.action, form.method) == ("/checkout/", "post")
    assert form.filled({"email": "ada@example.org", "payment_method": "pm_card_visa"}) == {
        "csrfmiddlewaretoken": "secret",
        "checkout_token": "t-1",
        "name": "Ada",
        "email": "ada@example.org",
        "country": "DE",
        "shipping": "standard",
        "payment_method": "pm_card_visa",
        "terms": "on",
        "note": "leave it\nat the door",
    }


def test_choices_are_those_of_the_page() -> None:
    form = Page.read(CHECKOUT).form_with("checkout_token")
    assert form is not None
    assert form.choices("country") == ["AT", "DE"]
    assert form.choices("shipping") == ["standard", "express"]
    assert form.choices("payment_method") == ["pm_card_visa", "pm_card_visa_chargeDeclined"]
    assert form.choices("nothing") == []


def test_what_the_page_does_not_ask_is_not_answered() -> None:
    form = Page.read(CHECKOUT).form_with("checkout_token")
    assert form is not None
    with pytest.raises(KeyError, match="no field 'card_number'"):
        form.filled({"card_number": "4242"})


def test_a_form_that_is_not_there() -> None:
    page = Page.read(CHECKOUT)
    assert page.form_with("q") is None  # sent by GET
    assert page.form_with("outside") is None


def test_the_admins_messages_have_levels() -> None:
    page = Page.read(
        '<ul><li class="nav">Home</li></ul><ul class="messagelist"><li class="success">It is <b>done</b>.</li>'
        "<li>Said without a level.</li></ul><ul><li>Elsewhere</li></ul>"
    )
    assert page.messages == [("success", "It is done ."), ("", "Said without a level.")]


def test_percentiles_are_values_that_occurred() -> None:
    assert _percentile([], 50) is None
    assert _percentile([1.0], 95) == 1.0
    assert _percentile([float(n) for n in range(1, 101)], 95) == 95.0
    assert _percentile([1.0, 2.0, 3.0], 50) == 2.0
