"""An ordinary order in one statement: what `shop.services.place_order` writes when nothing is unusual.

The statement only ever writes all of it or nothing: every part of it hangs on the order's row, and that row on all
conditions. Whatever is unusual is left to `place_order`, which says what it is.
"""

import functools

from django.conf import settings

from outbox import prepared, publisher
from payments import services as payments
from payments.money import AmountNotChargeable
from shop.events import InventoryReserved, Line, OrderPlaced
from shop.models import Order, OrderLine, Product, ShippingMethod, Stock

# What `Order.number` says, of an order whose id only the statement knows.
_NUMBER = "'O-' || lpad(placed.id::text, greatest(6, length(placed.id::text)), '0')"

# Stock is locked in the products' order and before the order's row is written, as `place_order` does it. What the lock
# waited for is read again: `available` is what is left then. An order of the same checkout that is being written by
# another is waited for at the INSERT, which then writes nothing.
_STATEMENT = """
WITH lines AS MATERIALIZED (
    SELECT given.*, product.name AS product_name, product.price
    FROM {lines}, {product} AS product
    WHERE product.id = given.product_id AND product.active
      AND product.id = ANY (ARRAY(SELECT product_id FROM {lines}))
), agreed AS MATERIALIZED (
    SELECT given.*, shipping.id AS shipping_id, shipping.price AS shipping_costs
    FROM {order}, {shipping} AS shipping
    WHERE shipping.code = %(shipping)s AND shipping.active
      AND (SELECT sum(price * quantity) FROM lines) + shipping.price = given.total
      AND NOT EXISTS (SELECT FROM {orders} AS earlier WHERE earlier.checkout_token = given.checkout_token)
), locked AS MATERIALIZED (
    SELECT stock.product_id, stock.on_hand - stock.reserved AS available
    FROM {stock} AS stock
    WHERE stock.product_id = ANY (ARRAY(SELECT product_id FROM lines)) AND EXISTS (SELECT FROM agreed)
    ORDER BY stock.product_id
    FOR NO KEY UPDATE
), placed AS (
    {insert_order}
    WHERE (SELECT count(*) FROM lines JOIN locked USING (product_id) WHERE available >= quantity)
        = json_array_length(%(lines)s::json)
    ON CONFLICT (checkout_token) DO NOTHING
    RETURNING id, subtotal, shipping_price, shipping_method_id, created_at, updated_at
), held AS (
    UPDATE {stock} AS stock SET reserved = stock.reserved + lines.quantity
    FROM placed, lines
    WHERE stock.product_id = lines.product_id
), written_lines AS (
    {insert_lines}
), written_payment AS (
    {insert_payment}
), written_events AS (
    {insert_events}
), written_along AS (
    {along}
)
SELECT *, EXISTS (SELECT FROM written_along) FROM placed
"""


@functools.cache
def _statement(along: str) -> bytes:
    text = _STATEMENT.format(
        lines=prepared.given(OrderLine, "lines"),
        order=prepared.given(Order, "order"),
        product=Product._meta.db_table,
        shipping=ShippingMethod._meta.db_table,
        orders=Order._meta.db_table,
        stock=Stock._meta.db_table,
        insert_order=prepared.insertion(
            Order,
            "agreed AS given",
            subtotal="given.total - shipping_costs",
            shipping_price="shipping_costs",
            shipping_method_id="shipping_id",
        ),
        insert_lines=prepared.insertion(
            OrderLine,
            "placed, lines AS given ORDER BY given.ordinality",
            order_id="placed.id",
            name="product_name",
            unit_price="price",
        ),
        insert_payment=payments.insertion("payment", source="placed", order_id="placed.id", reference=_NUMBER),
        insert_events=publisher.insertion("events", source="placed", key="order_id", aggregate_id="placed.id"),
        along=along,
    )
    return text.encode()


def place_at_once(
    *,
    order: Order,
    lines: tuple[Line, ...],
    shipping_code: str,
    payment_method: str,
    along: prepared.Addition | None = None,
) -> bool:
    """Write this order with its lines, hold, payment and events, and what comes `along`, if nothing is unusual; the
    order has what the database gave it then. Otherwise nothing is written.

    The order comes with all that the shopper sent and the total that was agreed to; the lines, each of another product,
    with their quantities. Needs a transaction.
    """
    try:
        payment = payments.requested(
            order_id=0,  # this and the reference are the statement's
            reference="",
            amount=order.total,
            currency=order.currency,
            payment_method=payment_method,
            return_url=return_url(order),
        )
    except AmountNotChargeable:
        return False
    rows = prepared.run(
        _statement(along.beside("placed") if along else "SELECT FROM placed"),
        {
            "order": prepared.as_json([prepared.row_of(order)]),
            "lines": prepared.as_json(_row(line) for line in lines),
            "payment": prepared.as_json([payment]),
            "events": prepared.as_json(publisher.records(*events(order, lines))),
            "shipping": shipping_code,
            **(along.parameters if along else {}),
        },
    )
    if not rows:
        return False
    ((order.pk, order.subtotal, order.shipping_price, order.shipping_method_id, *times, is_along),) = rows
    order.created_at, order.updated_at = times
    if along:
        along.told(is_along)
    order._state.adding, order._state.db = False, "default"
    publisher.ring()
    return True


def _row(line: Line) -> prepared.Row:
    return prepared.row(OrderLine, product_id=line.product_id, quantity=line.quantity, hold=OrderLine.Hold.HELD)


def return_url(order: Order) -> str:
    """Where 3-D Secure sends the customer back to."""
    return f"{settings.STORE_ADDRESS}{order.get_absolute_url()}"


def events(order: Order, lines: tuple[Line, ...]) -> tuple[OrderPlaced, InventoryReserved]:
    """What is reported of an order whose goods are held."""
    number = order.pk or 0
    return (
        OrderPlaced(order_id=number, total=order.total, currency=order.currency, lines=lines),
        InventoryReserved(order_id=number, lines=lines),
    )
