"""Placing an order: one transaction writes the order, its holds, its payment and its outbox records."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction

from outbox import context
from outbox.crash_points import crash_point
from outbox.database import retried
from outbox.prepared import Addition
from outbox.publisher import publish
from payments.services import request_payment
from shop import stock
from shop.events import InventoryUnavailable, Line
from shop.models import Order, OrderLine, Product, ShippingMethod
from shop.placement import events, place_at_once, return_url

# No line of a shop like this needs more; it bounds totals and what one shopper can hold.
MAX_QUANTITY = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class CartLine:
    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Who gets the goods; `country` is ISO 3166-1 alpha-2."""

    name: str
    email: str
    address: str
    postal_code: str
    city: str
    country: str
    address_2: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The order and what the shopper must be told: `unavailable` holds the products that were short.

    `repeated` means that the same checkout had been sent before and nothing new was written.
    """

    order: Order
    unavailable: tuple[int, ...] = ()
    repeated: bool = False


class CheckoutRefused(Exception):
    """Nothing was written; the message is meant for the shopper."""


class CheckoutConflict(CheckoutRefused):
    """This checkout was sent before with another content."""


class PriceChanged(CheckoutRefused):
    """The total the shopper agreed to is not today's."""


def digest(*, lines: Sequence[CartLine], contact: Contact, shipping_code: str) -> str:
    """SHA-256 of all that the shopper decided, the card apart: the first card that was sent counts."""
    content = {
        "lines": sorted((line.product_id, line.quantity) for line in lines),
        "contact": _fields(contact),
        "shipping": shipping_code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fields(contact: Contact) -> dict[str, str]:
    return {name: getattr(contact, name) for name in Contact.__slots__}


@retried()
def place_order(
    *,
    checkout_token: uuid.UUID,
    lines: Sequence[CartLine],
    contact: Contact,
    shipping_code: str,
    payment_method: str,
    expected_total: int,
    along: Addition | None = None,
) -> Placed:
    """Write the order and everything that follows from it, or find it written already.

    The same `checkout_token` with the same content gives the same order, however often and however
    concurrently it is sent; that also makes a retry after a lost COMMIT acknowledgement safe. Prices come from
    the database; `expected_total` (minor units, with shipping) is what the shopper saw. Goods that are short
    do not raise: the order is kept as `cancelled`, without a payment, and `unavailable` names them. `along` writes what
    becomes true with a new order whose goods are there, in its transaction.

    Raises CheckoutConflict, PriceChanged, or CheckoutRefused for a cart or shipping method that cannot be
    ordered.
    """
    with transaction.atomic(), context.bound(context.current()):  # a story begins: its correlation id is the order's
        order = Order(
            checkout_token=checkout_token,
            digest=digest(lines=lines, contact=contact, shipping_code=shipping_code),
            currency=settings.STORE_CURRENCY,
            total=expected_total,
            **_fields(contact),
        )
        sold = tuple(Line(product_id=line.product_id, quantity=line.quantity) for line in lines)
        if _objection(sold) is None and place_at_once(
            order=order, lines=sold, shipping_code=shipping_code, payment_method=payment_method, along=along
        ):
            placed = Placed(order=order)
        else:
            placed = _place_step_by_step(order, sold, shipping_code, payment_method)
            if along is not None and not placed.repeated and not placed.unavailable:
                along.run()
        if placed.repeated:
            return placed
        crash_point("O1")
    crash_point("O2")
    return placed


def _place_step_by_step(order: Order, lines: tuple[Line, ...], shipping_code: str, payment_method: str) -> Placed:
    """What is unusual about it is found out here; what has become usual meanwhile is placed."""
    repeated = _already_placed(order)
    if repeated is not None:
        return repeated
    products = _products(lines)
    shipping = ShippingMethod.objects.filter(code=shipping_code, active=True).first()
    if shipping is None:
        raise CheckoutRefused("This way of shipping is no longer offered: please choose another.")
    order.shipping_method, order.shipping_price = shipping, shipping.price
    order.subtotal = sum(products[line.product_id].price * line.quantity for line in lines)
    if order.subtotal + order.shipping_price != order.total:
        raise PriceChanged("A price has changed since you looked: please check the new total.")
    try:
        with transaction.atomic():  # a savepoint: a concurrent insert of the same token is waited for here
            short = stock.hold(wanted={line.product_id: line.quantity for line in lines})
            order.save(force_insert=True)
    except IntegrityError:
        repeated = _already_placed(order)
        if repeated is None:
            raise
        return repeated
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            product_id=line.product_id,
            name=products[line.product_id].name,
            unit_price=products[line.product_id].price,
            quantity=line.quantity,
            hold=OrderLine.Hold.NONE if short else OrderLine.Hold.HELD,
        )
        for line in lines
    )
    _report(order, lines, short, payment_method)
    return Placed(order=order, unavailable=short)


def _already_placed(order: Order) -> Placed | None:
    earlier = Order.objects.filter(checkout_token=order.checkout_token).first()
    if earlier is None:
        return None
    if earlier.digest != order.digest:
        raise CheckoutConflict(
            f"This checkout already became order {earlier.number}, with other details. "
            "Please look at that order before you send another."
        )
    return Placed(order=earlier, unavailable=tuple(earlier.process.get("unavailable", ())), repeated=True)


def _objection(lines: tuple[Line, ...]) -> str | None:
    """Why nothing can be ordered so, whatever the catalogue says."""
    if not lines:
        return "Your cart is empty."
    if len({line.product_id for line in lines}) != len(lines):
        return "A product stands twice in the cart: please reload it."
    if any(not 1 <= line.quantity <= MAX_QUANTITY for line in lines):
        return f"You can order 1 to {MAX_QUANTITY} of each product."
    return None


def _products(lines: tuple[Line, ...]) -> dict[int, Product]:
    objection = _objection(lines)
    if objection is not None:
        raise CheckoutRefused(objection)
    products = Product.objects.filter(active=True).in_bulk([line.product_id for line in lines])
    if len(products) != len(lines):
        raise CheckoutRefused("A product in your cart is no longer sold: please reload the cart.")
    return products


def _report(order: Order, lines: tuple[Line, ...], short: tuple[int, ...], payment_method: str) -> None:
    if short:
        order.status, order.process = Order.Status.CANCELLED, {"unavailable": list(short)}
        order.save(update_fields=["status", "process"])
        wanted = {line.product_id: line for line in lines}
        publish(InventoryUnavailable(order_id=order.pk, lines=tuple(wanted[pk] for pk in short)))
        return
    request_payment(
        order_id=order.pk,
        reference=order.number,
        amount=order.total,
        currency=order.currency,
        payment_method=payment_method,
        return_url=return_url(order),
    )
    publish(*events(order, lines))
