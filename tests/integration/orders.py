"""Products to sell, and orders as the checkout page places them."""

import itertools
import uuid

from shop.models import Product, ShippingMethod, Stock, StockMovement
from shop.services import CartLine, Contact, Placed, place_order

SHIPPING = 490
_numbers = itertools.count(1)


def offer(*, price: int = 2000, stock: int = 10) -> Product:
    """A product with so many pieces, and a way to ship it."""
    ShippingMethod.objects.get_or_create(code="standard", name="Standard", price=SHIPPING, days="2–3 days")
    number = next(_numbers)
    made = Product.objects.create(slug=f"good-{number}", name=f"Good {number}", category="Goods", price=price)
    Stock.objects.create(product=made, on_hand=stock)
    StockMovement.objects.create(product=made, kind=StockMovement.Kind.RECEIPT, quantity=stock)
    return made


def place(
    product: Product,
    *,
    quantity: int = 1,
    card: str = "pm_card_visa",
    country: str = "DE",
    postal_code: str = "20457",
    address: str = "Am Sandtorkai 1",
    email: str = "ada@example.org",
) -> Placed:
    return place_order(
        checkout_token=uuid.uuid4(),
        lines=[CartLine(product_id=product.pk, quantity=quantity)],
        contact=Contact(
            name="Ada Lovelace",
            email=email,
            address=address,
            postal_code=postal_code,
            city="Hamburg",
            country=country,
        ),
        shipping_code="standard",
        payment_method=card,
        expected_total=product.price * quantity + SHIPPING,
    )
