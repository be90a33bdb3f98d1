"""The order page: unguessable, never stored, and cheap to ask again whether anything has changed."""

import hashlib

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_http_methods

from outbox.crash_points import crash_point
from outbox.timeline import timeline
from payments import services as payments
from payments.models import Payment
from payments.services import NotPayable
from shop import countries, limits, selectors
from shop.decisions import TooManyCards, cancel_order, give_card
from shop.forms import CardForm
from shop.models import Order
from shop.process_managers import SHOPPER, NotPossible
from shop.selectors import MoneyBack
from shop.views import errors
from shop.views.cards import card_field
from shop.views.order_words import PROGRESS, Words, describe, may_cancel

# What the bank appends to the address that it sends customers back to (docs.stripe.com/payments/3d-secure).
BANK_PARAMETERS = ("payment_intent", "redirect_status")
# Seconds within which a second return to one order asks nobody again.
RETURN_PAUSE = 5

CANCEL = "cancel"


@require_http_methods(["GET", "HEAD", "POST"])
def order(request: HttpRequest, token: str) -> HttpResponse:
    """The order's page; 304 for an If-None-Match that names what the shopper already sees. A POST cancels the
    order, or brings another card after a decline.

    It is not stored anywhere (no-store): only the page's own script asks conditionally, with the tag that it
    finds in the page. Nobody finds it through a search engine or a Referer.
    """
    found = selectors.order_by_token(token)
    if found is None:
        raise Http404
    if request.method == "POST":
        return _cancel(request, found) if request.POST.get("action") == CANCEL else _another_card(request, found)
    payment = selectors.payment_of(found)
    if all(name in request.GET for name in BANK_PARAMETERS):
        return _back_from_bank(request, found, payment)
    back = selectors.money_back(found)
    awaits_screening = selectors.awaits_screening(found)
    words = describe(order=found, payment=payment, back=back, awaits_screening=awaits_screening)
    etag = _etag(found, payment, back, words)
    response: HttpResponse | None = get_conditional_response(request, etag=etag)
    if response is None:
        response = render(request, "shop/order.html", _context(found, payment, back, words, etag))
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-store"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _back_from_bank(request: HttpRequest, order: Order, payment: Payment | None) -> HttpResponse:
    """The customer's return from 3-D Secure, on to the page's own address: the bank's secret leaves the address bar.

    What the parameters claim is not believed. They only let us ask the bank sooner than we would: a nudge, which
    changes no state of order or payment, and so is as harmless on a GET as the page's own polling.
    """
    waits = payment is not None and payment.status == Payment.Status.REQUIRES_ACTION
    if request.method == "GET" and waits:
        once = limits.Limit(what="return", who=str(order.pk), most=1, seconds=RETURN_PAUSE)
        try:
            limits.take(once, now=timezone.now())
        except limits.TooManyTries:
            pass  # the bank is being asked already
        else:
            payments.look_again(order_ids=[order.pk])
    response = redirect(order)
    response["Cache-Control"] = "private, no-store"
    return response


def _cancel(request: HttpRequest, order: Order) -> HttpResponse:
    try:
        cancel_order(order_id=order.pk, actor=SHOPPER, reason="on the order page")
    except NotPossible:
        messages.info(request, "This order can no longer be cancelled: see below where it stands.")
    return redirect(order)


def _another_card(request: HttpRequest, order: Order) -> HttpResponse:
    form = CardForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(map(str, form.errors["payment_method"])))
        return redirect(order)
    try:
        limits.take_card_try(request, now=timezone.now())
        give_card(order_id=order.pk, payment_method=form.payment_method_id)
        crash_point("K1")
    except limits.TooManyTries as too_many:
        return errors.too_many_tries(request, retry_after=too_many.retry_after, order_address=order.get_absolute_url())
    except (NotPossible, NotPayable):
        messages.info(request, "This order was not waiting for a card any more: see below where it stands.")
    except TooManyCards as refused:
        messages.error(request, str(refused))
    return redirect(order)


def _etag(order: Order, payment: Payment | None, back: MoneyBack, words: Words) -> str:
    """Changes whenever anything on the page does."""
    parts = [order.pk, order.version, order.status, back, words]
    if payment is not None:
        parts += [payment.status, payment.card_no, payment.failure_code, payment.action_url]
        parts += [bool(payment.blocked_reason), payment.attempts > 0]
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def _context(order: Order, payment: Payment | None, back: MoneyBack, words: Words, etag: str) -> dict[str, object]:
    steps = [
        (label, "done" if number <= words.reached else "next" if number == words.reached + 1 else "open")
        for number, label in enumerate(PROGRESS, start=1)
    ]
    unavailable = set(order.process.get("unavailable", ()))
    return {
        "order": order,
        "words": words,
        "steps": steps,
        "lines": [(line, line.product_id in unavailable) for line in selectors.lines_of(order)],
        "shipment": selectors.shipment_of(order) if order.status == Order.Status.SHIPPED else None,
        "sent_back": back.sent,
        "timeline": timeline(order.pk, public=True),
        "may_cancel": may_cancel(order),
        "is_paid": payment is not None and payment.status == Payment.Status.SUCCEEDED,
        "country": countries.name(order.country),
        "etag": etag,
        "card": card_field() if words.another_card else None,
    }
