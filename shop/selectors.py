"""Reading the shop: what pages, mails and other apps may know about orders."""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from outbox import prepared
from payments.models import Payment, Refund
from shop.models import Order, OrderLine, Product, Screening, Shipment, ShippingMethod, Stock
from shop.services import CartLine


def catalogue(*, category: str = "") -> QuerySet[Product]:
    """Products on sale with their stock, of one category or of all."""
    products = Product.objects.filter(active=True).select_related("stock")
    return products.filter(category=category) if category else products


def categories() -> list[str]:
    return list(Product.objects.filter(active=True).order_by("category").values_list("category", flat=True).distinct())


def available(product: Product) -> int:
    """Pieces that nobody has been promised; none of a product that was never received."""
    stock: Stock | None = getattr(product, "stock", None)
    return stock.available if stock else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLine:
    """A line of a cart at today's price. `sold` is False when the product has been taken off sale."""

    product: Product
    quantity: int
    available: int

    @property
    def sold(self) -> bool:
        return self.product.active

    @property
    def short(self) -> bool:
        return self.sold and self.available < self.quantity

    @property
    def amount(self) -> int:
        """Minor units."""
        return self.product.price * self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedCart:
    lines: tuple[PricedLine, ...]

    @property
    def subtotal(self) -> int:
        """Minor units, of what can be ordered."""
        return sum(line.amount for line in self.lines if line.sold)

    @property
    def orderable(self) -> bool:
        return bool(self.lines) and all(line.sold and not line.short for line in self.lines)


def priced(lines: Sequence[CartLine]) -> PricedCart:
    """The lines with their products, today's prices and what is left; in their own order."""
    products = Product.objects.select_related("stock").in_bulk([line.product_id for line in lines])
    return PricedCart(
        lines=tuple(
            PricedLine(product=found, quantity=line.quantity, available=available(found))
            for line in lines
            if (found := products.get(line.product_id))
        )
    )


def shipping_methods() -> QuerySet[ShippingMethod]:
    """The ways of shipping on offer, in their order."""
    return ShippingMethod.objects.filter(active=True)


def order_by_token(token: str) -> Order | None:
    """The order behind its unguessable address, with shipping."""
    return Order.objects.select_related("shipping_method").filter(token=token).first()


def lines_of(order: Order) -> QuerySet[OrderLine]:
    """With their products, in the order of the cart."""
    return order.lines.select_related("product").order_by("pk")


_NUMBER = re.compile(r"(?:O-)?0*(\d{1,18})", re.IGNORECASE | re.ASCII)


def order_id_called(name: str) -> int | None:
    """The id of the order that people call O-000042, or by the number in it; None for what names no order."""
    found = _NUMBER.fullmatch(name.strip())
    return int(found[1]) if found else None


def order_by_checkout_token(checkout_token: uuid.UUID) -> Order | None:
    return Order.objects.prefetch_related("lines").filter(checkout_token=checkout_token).first()


def is_ordered(checkout_token: uuid.UUID) -> bool:
    """Whether this checkout has become an order already."""
    return Order.objects.filter(checkout_token=checkout_token).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order with its lines, in the order of the cart, and its shipping."""

    order: Order
    lines: Sequence[OrderLine]
    shipping_method: ShippingMethod


_ORDERS = f"{prepared.selection(Order)} WHERE id = ANY (%(orders)s::bigint[])".encode()
_SHIPPING = prepared.selection(ShippingMethod).encode()
_LINES = f"{prepared.selection(OrderLine)} WHERE order_id = ANY (%(orders)s::bigint[]) ORDER BY id".encode()


def orders(ids: Iterable[int]) -> dict[int, Ordered]:
    """By the order's id, read for all orders at once."""
    wanted = {"orders": prepared.numbers(ids)}
    shipping = {method.pk: method for method in prepared.read(ShippingMethod, _SHIPPING, {})}
    lines: dict[int, list[OrderLine]] = defaultdict(list)
    for line in prepared.read(OrderLine, _LINES, wanted):
        lines[line.order_id].append(line)
    return {
        order.pk: Ordered(order=order, lines=lines[order.pk], shipping_method=shipping[order.shipping_method_id])
        for order in prepared.read(Order, _ORDERS, wanted)
    }


def payment_of(order: Order) -> Payment | None:
    """None for an order that was sold out."""
    return Payment.objects.filter(order_id=order.pk).first()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyBack:
    """What has come of an order's refunds, in minor units: the bank has taken what is `sent`, and not yet what is
    `on_its_way`. `is_failed`: the last one did not arrive, and nothing has been tried since."""

    sent: int = 0
    on_its_way: int = 0
    is_failed: bool = False


# A refund that waits for a second person is promised to nobody.
_ON_ITS_WAY = Refund.COUNTED - {Refund.Status.SUCCEEDED, Refund.Status.AWAITING_APPROVAL}


def money_back(order: Order) -> MoneyBack:
    rows = Refund.objects.filter(payment__order_id=order.pk).exclude(status=Refund.Status.CANCELED).order_by("pk")
    refunds = list(rows.values_list("status", "amount"))
    return MoneyBack(
        sent=sum(amount for status, amount in refunds if status == Refund.Status.SUCCEEDED),
        on_its_way=sum(amount for status, amount in refunds if status in _ON_ITS_WAY),
        is_failed=bool(refunds) and refunds[-1][0] == Refund.Status.FAILED,
    )


def awaits_screening(order: Order) -> bool:
    """Whether a service outside is asked, whose answer alone decides about the order: no person has to."""
    if order.status != Order.Status.UNDER_REVIEW:
        return False
    return Screening.objects.filter(order=order, decides=True).exclude(status__in=Screening.FINAL).exists()


def shipment_of(order: Order) -> Shipment | None:
    """The parcel that went out, with carrier and tracking."""
    return order.shipments.filter(kind=Shipment.Kind.SHIPPED).order_by("pk").first()
