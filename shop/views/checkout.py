"""The checkout: one form, sent as often as the shopper likes, becomes one order."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from outbox.crash_points import crash_point
from payments.money import AmountNotChargeable
from shop import admission, intake, limits, selectors
from shop.cart import Cart
from shop.forms import CheckoutForm
from shop.models import Order, ShippingMethod
from shop.services import CartLine, CheckoutRefused, Placed, place_order
from shop.views import errors
from shop.views.cards import card_field


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShippingChoice:
    method: ShippingMethod
    total: int
    checked: bool


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    response = _answer(request)
    response["Cache-Control"] = "private, no-store"
    return response


def _answer(request: HttpRequest) -> HttpResponse:
    cart = Cart(request.session)
    if request.method == "POST":
        return _send(request, cart)
    if cart and intake.stopped():
        return _closed(request)
    return _page(request, CheckoutForm(), cart.lines) if cart else redirect("cart")


def _send(request: HttpRequest, cart: Cart) -> HttpResponse:
    form = CheckoutForm(request.POST)
    if not form.is_valid():
        return _page(request, form, cart.lines, status=422)
    is_present = form.token == cart.checkout_token
    earlier = None if is_present else _order_of_earlier_cart(form.token)
    if not is_present and earlier is None:
        form.add_error(None, "Your cart has changed since this page was made: please check it and send it again.")
        return _page(request, form, cart.lines, status=409)
    lines = _lines(earlier) if earlier else cart.lines
    try:
        if earlier is None:
            admission.admit(request, checkout_token=form.cleaned_data["checkout_token"], now=timezone.now())
        placed = place_order(
            checkout_token=form.cleaned_data["checkout_token"],
            lines=lines,
            contact=form.contact,
            shipping_code=form.shipping_code,
            payment_method=form.payment_method_id,
            expected_total=form.expected_total,
            along=cart.leaving() if earlier is None else None,
        )
    except intake.Stopped:
        return _closed(request)
    except limits.TooManyTries as too_many:
        return errors.too_many_tries(request, retry_after=too_many.retry_after)
    except (CheckoutRefused, AmountNotChargeable) as refused:
        form.add_error(None, str(refused))
        became = selectors.order_by_checkout_token(form.cleaned_data["checkout_token"])
        return _page(request, form, lines, order=became, status=409)
    crash_point("O3")
    if placed.unavailable:
        return _sold_out(request, cart, placed, is_present=earlier is None)
    if earlier is None:
        cart.clear()
    return redirect(placed.order)


def _closed(request: HttpRequest) -> HttpResponse:
    return errors.no_orders(request, retry_after=round(intake.RETRY_AFTER.total_seconds()))


def _order_of_earlier_cart(token: uuid.UUID | None) -> Order | None:
    """The order that this form became when it was sent before, its cart being gone since then.

    Only the shopper's own form knows the token: it is as unguessable as the cart's id.
    """
    return selectors.order_by_checkout_token(token) if token else None


def _lines(order: Order) -> tuple[CartLine, ...]:
    return tuple(CartLine(product_id=line.product_id, quantity=line.quantity) for line in order.lines.all())


def _sold_out(request: HttpRequest, cart: Cart, placed: Placed, *, is_present: bool) -> HttpResponse:
    """Nothing is charged and the cart stays; under a new id, for its next try is another checkout."""
    if is_present:
        cart.renew()
    for line in selectors.priced(_lines(placed.order)).lines:
        if line.product.pk in placed.unavailable:
            messages.error(request, _shortage(line))
    messages.info(request, "Nothing was ordered and nothing was charged.")
    return redirect("cart")


def _shortage(line: selectors.PricedLine) -> str:
    if line.available >= line.quantity:
        return f"{line.product.name} was short a moment ago, but there are enough again: please try once more."
    if line.available <= 0:
        return f"{line.product.name} has just been sold out."
    return f"Only {line.available} of {line.product.name} left: you asked for {line.quantity}."


def _page(
    request: HttpRequest,
    form: CheckoutForm,
    lines: Sequence[CartLine],
    *,
    order: Order | None = None,
    status: int = 200,
) -> HttpResponse:
    """The form with what was typed, today's prices, and the token of the present cart.

    `order` is what this checkout already became; then there is nothing to send any more.
    """
    priced = selectors.priced(lines)
    methods = list(selectors.shipping_methods())
    wanted = form["shipping"].value()
    if wanted not in [method.code for method in methods]:
        wanted = methods[0].code if methods else ""
    choices = [
        _ShippingChoice(method=each, total=priced.subtotal + each.price, checked=each.code == wanted)
        for each in methods
    ]
    context = {
        "form": form,
        "priced": priced,
        "choices": choices,
        "order": order,
        "checkout_token": Cart(request.session).checkout_token,
        "currency": settings.STORE_CURRENCY,
        "card": card_field(form["payment_method"].value()),
    }
    return render(request, "shop/checkout.html", context, status=status)
