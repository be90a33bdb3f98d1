"""Stock that orders hold: reserved with the order, then released or consumed, each line exactly once.

Rows are locked in one order (`ORDER BY` the product), so that no two orders deadlock. Needs a transaction; `release`
and `consume` also the orders' locks.
"""

from collections.abc import Mapping, Sequence

from django.db.models import Case, F, Sum, Value, When

from outbox import decisions
from outbox.crash_points import crash_point
from shop.models import Concern, OrderLine, Product, Stock, StockMovement


def _locked(product_ids: Sequence[int]) -> dict[int, Stock]:
    rows = Stock.objects.select_for_update(no_key=True).filter(pk__in=product_ids).order_by("pk")
    return {stock.pk: stock for stock in rows}


def _quantity(quantities: Mapping[int, int]) -> Case:
    return Case(*(When(pk=pk, then=Value(quantity)) for pk, quantity in quantities.items()))


def hold(*, wanted: Mapping[int, int]) -> tuple[int, ...]:
    """Reserve these quantities by product, all of them or none; return the products that are short."""
    stocks = _locked(list(wanted))
    left = {pk: stock.available for pk, stock in stocks.items()}
    short = tuple(sorted(pk for pk, quantity in wanted.items() if left.get(pk, 0) < quantity))
    if not short:
        Stock.objects.filter(pk__in=wanted).update(reserved=F("reserved") + _quantity(wanted))
    return short


def release(*, order_ids: Sequence[int]) -> None:
    """Give back what these orders hold."""
    held = OrderLine.objects.filter(order__in=order_ids, hold=OrderLine.Hold.HELD)
    freed = {row["product"]: row["total"] for row in held.values("product").annotate(total=Sum("quantity"))}
    if freed:
        _locked(list(freed))
        Stock.objects.filter(pk__in=freed).update(reserved=F("reserved") - _quantity(freed))
        held.update(hold=OrderLine.Hold.RELEASED)
        crash_point("C1")


def consume(*, order_ids: Sequence[int]) -> None:
    """Take what has left the warehouse for these orders out of the stock.

    Goods that left although their hold had been released are taken out too, as long as they are not promised
    to others by now: where they are, the difference is a concern for a person, and the books stay true to
    what is known.
    """
    lines = list(OrderLine.objects.filter(order__in=order_ids).exclude(hold=OrderLine.Hold.CONSUMED).order_by("pk"))
    stocks = _locked([line.product_id for line in lines])
    for line in lines:
        stock = stocks[line.product_id]
        held = line.hold == OrderLine.Hold.HELD
        if not held and stock.available < line.quantity:
            Concern.objects.create(
                order_id=line.order_id,
                kind="stock_promised_to_others",
                detail=f"{line.quantity} × {line.name} left without a hold; correct the stock by hand.",
            )
            continue
        stock.on_hand -= line.quantity
        stock.reserved -= line.quantity if held else 0
        stock.save(update_fields=["on_hand", "reserved"])
        StockMovement.objects.create(
            product_id=line.product_id, kind="shipment", quantity=-line.quantity, order_id=line.order_id
        )
        line.hold = OrderLine.Hold.CONSUMED
        line.save(update_fields=["hold"])


class TooFew(Exception):
    """So many pieces are not there, or are promised to orders; the message says how many may go."""


def move(*, product: Product, kind: StockMovement.Kind, quantity: int, actor: str, reason: str) -> Stock:
    """Record goods that came (positive) or are gone (negative) and were no order's shipment: a receipt, a return, a
    correction after counting. The number on hand is never edited: it is the sum of such rows. Raises TooFew."""
    Stock.objects.get_or_create(product=product)
    stock = _locked([product.pk])[product.pk]
    if quantity + stock.available < 0:
        raise TooFew(f"{stock.on_hand} are on hand and {stock.reserved} of them promised: {stock.available} may go.")
    Stock.objects.filter(pk=stock.pk).update(on_hand=F("on_hand") + quantity)
    StockMovement.objects.create(product=product, kind=kind, quantity=quantity, actor=actor, reason=reason)
    decisions.record(
        kind=kind,
        about=product,
        actor=actor,
        reason=reason,
        before=f"{stock.on_hand} on hand",
        after=f"{stock.on_hand + quantity} on hand",
    )
    stock.refresh_from_db()
    return stock
