"""Fill an empty store with goods, and keep the shelves of a demonstration full."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.models import F

from shop.models import Product, ShippingMethod, Stock, StockMovement

_FILE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    products: int
    shipping_methods: int
    received: int


def seed(*, stock: int) -> Seeded:
    """Write the catalogue's products and shipping methods as the file has them, and receive what is missing
    to `stock` pieces of each (or to what the file says). Doing it again receives nothing.

    Products and shipping methods that the file does not name are left alone.
    """
    catalogue = tomllib.loads(_FILE.read_text())
    with transaction.atomic():
        for position, method in enumerate(catalogue["shipping"]):
            ShippingMethod.objects.update_or_create(code=method.pop("code"), defaults={**method, "position": position})
        wanted = {}
        for fields in catalogue["product"]:
            slug, pieces = fields.pop("slug"), fields.pop("stock", stock)
            fields["description"] = fields["description"].strip()
            product, _ = Product.objects.update_or_create(
                slug=slug, defaults={**fields, "image": f"shop/products/{slug}.svg"}
            )
            wanted[product.pk] = pieces
        received = _receive(wanted)
    return Seeded(products=len(wanted), shipping_methods=len(catalogue["shipping"]), received=received)


def _receive(wanted: dict[int, int]) -> int:
    """Receipts that bring `on_hand` up to the wanted pieces by product id; returns how many pieces came."""
    Stock.objects.bulk_create([Stock(product_id=pk) for pk in wanted], ignore_conflicts=True)
    rows = Stock.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk")
    missing = {row.pk: wanted[row.pk] - row.on_hand for row in rows if row.on_hand < wanted[row.pk]}
    for pk, quantity in missing.items():
        Stock.objects.filter(pk=pk).update(on_hand=F("on_hand") + quantity)
    StockMovement.objects.bulk_create(
        StockMovement(product_id=pk, kind=StockMovement.Kind.RECEIPT, quantity=quantity, reason="seed_catalogue")
        for pk, quantity in missing.items()
    )
    return sum(missing.values())
