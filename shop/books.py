"""The shop's books: orders against payments, the log, and the stock."""

from collections.abc import Iterable

from outbox.audit import Difference, Finding, Remark, check, differing, select
from outbox.books import LOG, guarded, told
from payments.bank_books import BANK
from shop import warehouse_books  # noqa: F401 - its checks belong to these books


@check("S1")
def payments_are_for_the_total() -> Iterable[Difference]:
    """A payment asks for its order's total, which is the sum of its lines and shipping."""
    yield from differing(
        "a payment's amount",
        """
        SELECT p.order_id, coalesce(o.total || ' ' || o.currency, 'an order'), p.amount || ' ' || p.currency
        FROM payments_payment AS p LEFT JOIN shop_order AS o ON o.id = p.order_id
        WHERE (p.amount, p.currency) IS DISTINCT FROM (o.total, o.currency)
        """,
    )
    yield from differing(
        "an order's sum",
        """
        SELECT o.id, coalesce(l.amount, 0), o.subtotal
        FROM shop_order AS o LEFT JOIN (
            SELECT order_id, sum(unit_price * quantity) AS amount FROM shop_orderline GROUP BY 1
        ) AS l ON l.order_id = o.id
        WHERE o.subtotal IS DISTINCT FROM l.amount
        """,
    )


@check("S5")
def nothing_is_promised_twice() -> Iterable[Difference]:
    """Stock is never negative, and never promised beyond what is on hand."""
    yield from differing(
        "stock",
        """
        SELECT NULL, slug || ': 0 <= reserved <= on hand', reserved || ' reserved, ' || on_hand || ' on hand'
        FROM shop_stock JOIN shop_product AS p ON p.id = product_id
        WHERE NOT (0 <= reserved AND reserved <= on_hand)
        """,
    )


@check("S5")
def goods_stay_while_money_may_move() -> Iterable[Difference]:
    """No hold is released before its payment has ended."""
    yield from differing(
        "a released hold",
        """
        SELECT l.order_id, 'held, as the payment is ' || p.status, l.quantity || ' of ' || l.name
        FROM payments_payment AS p JOIN shop_orderline AS l USING (order_id)
        WHERE p.settled_at IS NULL AND l.hold = 'released'
        """,
    )


@check("S6", sources=[LOG])
def only_the_paid_is_shipped() -> Iterable[Difference]:
    """Nothing was given to the warehouse to pick, or shipped, before it was paid."""
    yield from differing(
        "a picklist",
        """
        SELECT aggregateid, 'PaymentProcessed before position ' || position, NULL FROM outbox_event AS e
        WHERE type = 'PicklistRequested' AND created_at > (SELECT since FROM books_kept)
          AND NOT EXISTS (
              SELECT FROM outbox_event AS paid
              WHERE paid.aggregateid = e.aggregateid AND paid.type = 'PaymentProcessed'
                AND paid.position < e.position
          )
        """,
    )
    yield from differing(
        "a shipped order",
        """
        SELECT o.id, 'a succeeded payment', p.status
        FROM shop_order AS o LEFT JOIN payments_payment AS p ON p.order_id = o.id
        WHERE o.status = 'shipped' AND p.status IS DISTINCT FROM 'succeeded'
        """,
    )


@check("S7")
def orders_are_guarded() -> Iterable[Difference]:
    """The database itself refuses undeclared transitions of orders and of their screenings."""
    yield from guarded(shop_order="declared_transitions", shop_screening="declared_transitions")


@check("S7")
def decisions_have_names() -> Iterable[Difference]:
    """Every decision about an order or its money says who made it and why; nobody approves their own refund."""
    yield from differing(
        "a decision",
        """
        SELECT aggregateid, 'actor, reason, before and after', concat_ws(', ', kind, actor, reason, before, after)
        FROM outbox_decision
        WHERE '' IN (actor, before, after) OR (trim(reason) = '' AND actor <> 'shopper')
        """,
    )
    yield from differing(
        "a resolved concern",
        """
        SELECT order_id, 'by whom and how', concat_ws(', ', kind, resolved_by, resolution)
        FROM shop_concern WHERE resolved_at IS NOT NULL AND '' IN (resolved_by, resolution)
        """,
    )
    yield from differing(
        "a refund's approval",
        """
        SELECT p.order_id, 'somebody other than ' || requested_by, approved_by
        FROM payments_refund AS r JOIN payments_payment AS p ON p.id = r.payment_id
        WHERE approved_by = requested_by OR requested_by = ''
        """,
    )


@check("Q2", sources=[BANK])
def ended_orders_cost_nothing() -> Iterable[Difference]:
    """An order that ended without delivery has cost the customer nothing, unless a person or the customer's bank
    decides about it, or has decided."""
    yield from differing(
        "the net of an ended order",
        """
        SELECT o.id, o.status || ', net 0', i.received - i.refunded || ' ' || i.currency || ' by ' || i.id,
               coalesce(pg_temp.asked(i.id, 'charged_not_paid'), (
                   SELECT string_agg(kind || CASE
                       WHEN resolved_at IS NOT NULL THEN ': ' || resolved_by || ' has resolved it: ' || resolution
                       ELSE ' has waited for a person for ' || date_trunc('second', now() - created_at)
                           || CASE owner WHEN '' THEN '' ELSE ', looked after by ' || owner END
                       END, '; ' ORDER BY id)
                   FROM shop_concern AS c
                   -- Those that are about no money end with their resolution.
                   WHERE c.order_id = o.id AND (resolved_at IS NULL OR resolved_by NOT LIKE 'system:%'
                       AND kind NOT IN ('screening_unanswered', 'stock_promised_to_others'))
               ))
        FROM shop_order AS o
        JOIN payments_payment AS p ON p.order_id = o.id
        JOIN books_bank_intent AS i ON i.id = p.intent_id
        WHERE o.status IN ('cancelled', 'payment_failed', 'fulfillment_failed') AND i.received <> i.refunded
          AND NOT i.disputed
          AND NOT EXISTS (
              SELECT FROM payments_refund AS r
              WHERE r.payment_id = p.id AND (r.status = 'awaiting_approval' OR r.blocked_reason <> '')
          )
        """,
    )


# A sold-out order was cancelled at its placement and never had a payment.
_SOLD_OUT = "(status = 'cancelled' AND process ? 'unavailable')::int"
_SOLD = f"1 - {_SOLD_OUT}"
# The process notes the money; where it came too late, the order was paid but never accepted.
_PAID = "coalesce((process ->> 'paid')::boolean, false)::int"
_ACCEPTED = (
    "(status IN ('accepted', 'on_hold', 'shipped', 'fulfillment_failed'))::int"
    f" + (status = 'cancelling')::int * {_PAID}",
    f"{_PAID} * (status <> 'payment_failed')::int",
)


def _exactly(condition: str) -> tuple[str, str]:
    return f"({condition})::int", f"({condition})::int"


@check("Q3", sources=[LOG])
def orders_tell_once() -> Iterable[Finding]:
    """Each transition of an order has its one event, and each event its transition."""
    yield from told(
        rows="shop_order",
        order="id",
        created="created_at",
        events={
            "OrderPlaced": (_SOLD, _SOLD),
            "InventoryReserved": (_SOLD, _SOLD),
            "InventoryUnavailable": (_SOLD_OUT, _SOLD_OUT),
            "OrderUnderReview": ("(status = 'under_review')::int", _SOLD),
            "OrderPaid": (_PAID, _PAID),
            "OrderAccepted": _ACCEPTED,
            "OrderPaymentFailed": _exactly("status = 'payment_failed'"),
            "OrderCancelled": (f"(status = 'cancelled')::int - {_SOLD_OUT}",) * 2,
            "OrderFulfillmentFailed": _exactly("status = 'fulfillment_failed'"),
            "OrderShipped": _exactly("status = 'shipped'"),
        },
    )
    yield from differing(
        "picklists",
        """
        SELECT aggregateid, 'one for OrderAccepted, and one more for each withdrawn',
               accepted || ' accepted, ' || requested || ' requested, ' || withdrawn || ' withdrawn'
        FROM (
            SELECT aggregateid, count(*) FILTER (WHERE type = 'OrderAccepted') AS accepted,
                   count(*) FILTER (WHERE type = 'PicklistRequested') AS requested,
                   count(*) FILTER (WHERE type = 'PicklistWithdrawn') AS withdrawn
            FROM books_told WHERE type IN ('OrderAccepted', 'PicklistRequested', 'PicklistWithdrawn')
            GROUP BY aggregateid
        ) AS e JOIN shop_order AS o ON o.id::text = aggregateid
        WHERE o.created_at > (SELECT since FROM books_kept)
          AND NOT (requested BETWEEN greatest(accepted, withdrawn) AND accepted + withdrawn)
        """,
    )


@check("Q5")
def stock_adds_up() -> Iterable[Difference]:
    """Stock on hand is the sum of its movements, and what is reserved the sum of the lines that hold it."""
    yield from differing(
        "stock on hand and reserved",
        """
        SELECT NULL, slug || ': ' || coalesce(moved, 0) || ' on hand, ' || coalesce(held, 0) || ' reserved',
               on_hand || ' on hand, ' || reserved || ' reserved'
        FROM shop_product AS p
        LEFT JOIN shop_stock AS s ON s.product_id = p.id
        LEFT JOIN (
            SELECT product_id, sum(quantity) AS moved FROM shop_stockmovement GROUP BY 1
        ) AS m ON m.product_id = p.id
        LEFT JOIN (
            SELECT product_id, sum(quantity) AS held FROM shop_orderline WHERE hold = 'held' GROUP BY 1
        ) AS h ON h.product_id = p.id
        WHERE (coalesce(on_hand, 0), coalesce(reserved, 0)) <> (coalesce(moved, 0), coalesce(held, 0))
        """,
    )


@check("Q5")
def holds_end_once() -> Iterable[Difference]:
    """What an order holds fits where it stands, and only what it consumed was shipped, once."""
    yield from differing(
        "a line's hold",
        """
        SELECT o.id, e.hold, l.hold || ': ' || l.quantity || ' of ' || l.name || ', order ' || o.status
        FROM shop_order AS o
        JOIN shop_orderline AS l ON l.order_id = o.id
        CROSS JOIN LATERAL (SELECT CASE
            -- What the warehouse says has left has left, whatever the order is; unless a person was asked.
            WHEN EXISTS (SELECT FROM shop_shipment AS s WHERE s.order_id = o.id AND s.kind = 'shipped')
                THEN CASE WHEN EXISTS (
                    SELECT FROM shop_concern AS c WHERE c.order_id = o.id AND c.kind = 'stock_promised_to_others'
                ) THEN l.hold ELSE 'consumed' END
            WHEN o.status = 'cancelled' AND o.process ? 'unavailable' THEN 'none'
            WHEN o.status IN ('cancelled', 'payment_failed', 'fulfillment_failed') THEN 'released'
            ELSE 'held' END AS hold) AS e
        WHERE l.hold <> e.hold
        """,
    )
    yield from differing(
        "a line's shipments",
        """
        SELECT order_id, CASE l.hold WHEN 'consumed' THEN l.quantity ELSE 0 END || ' of product ' || product_id,
               coalesce(m.shipped, 0)
        FROM shop_orderline AS l
        FULL JOIN (
            SELECT order_id, product_id, -sum(quantity) AS shipped
            FROM shop_stockmovement WHERE kind = 'shipment' GROUP BY 1, 2
        ) AS m USING (order_id, product_id)
        WHERE coalesce(m.shipped, 0) <> CASE l.hold WHEN 'consumed' THEN l.quantity ELSE 0 END
        """,
    )


@check("Q8")
def orders_are_settled() -> Iterable[Finding]:
    """Every order has ended or waits for somebody, its payment stands where that says, and its clock runs."""
    yield from differing(
        "an order and its payment",
        """
        SELECT o.id, 'an order that has ended or waits for somebody, and a payment to match',
               o.status || ' with ' || coalesce('a payment that is ' || p.status, 'no payment')
               || ' since ' || date_trunc('second', o.updated_at)
        FROM shop_order AS o LEFT JOIN payments_payment AS p ON p.order_id = o.id
        WHERE (
            o.status, coalesce(p.status, CASE WHEN process ? 'unavailable' THEN 'none' ELSE 'missing' END)
        ) NOT IN (
            ('under_review', 'unprocessed'), ('action_required', 'requires_action'),
            ('payment_declined', 'declined'),
            -- The warehouse, or the customer's bank, has the word.
            ('accepted', 'succeeded'), ('cancelling', 'succeeded'), ('on_hold', 'succeeded'),
            ('shipped', 'succeeded'), ('fulfillment_failed', 'succeeded'),
            ('payment_failed', 'failed'), ('payment_failed', 'canceled'), ('payment_failed', 'succeeded'),
            ('cancelled', 'failed'), ('cancelled', 'canceled'), ('cancelled', 'succeeded'), ('cancelled', 'none')
        )
          AND coalesce(p.blocked_reason, '') = ''
          AND NOT EXISTS (
              SELECT FROM outbox_parkedevent AS e WHERE e.aggregateid = o.id::text AND e.status = 'waiting'
          )
        """,
    )
    # A minute's grace: the scheduler's sweep, if nothing else runs.
    yield from differing(
        "a hold's clock",
        """
        SELECT id, CASE WHEN status IN ('action_required', 'payment_declined') THEN 'running' ELSE 'stopped' END,
               coalesce('until ' || date_trunc('second', hold_until), 'stopped') || ', ' || status
        FROM shop_order
        WHERE (hold_until IS NOT NULL) <> (status IN ('action_required', 'payment_declined'))
           OR hold_until < now() - interval '1 minute'
        """,
    )
    for waiting, oldest in select(
        """
        SELECT count(*), date_trunc('second', now() - min(created_at))
        FROM shop_concern WHERE resolved_at IS NULL HAVING count(*) > 0
        """
    ):
        yield Remark(text=f"{waiting} concerns about orders wait for a person, the oldest for {oldest}.")


@check("Q8")
def screenings_are_settled() -> Iterable[Finding]:
    """Every screening has its answer, was given up or waits for a person, and one that decides has decided."""
    yield from differing(
        "a screening",
        """
        SELECT order_id, 'settled', status || ' since ' || date_trunc('second', created_at)
        FROM shop_screening WHERE settled_at IS NULL AND blocked_reason = ''
        """,
    )
    yield from differing(
        "an order that waited for its screening alone",
        """
        SELECT o.id, 'decided, as the screening ' || s.status, 'under review'
        FROM shop_screening AS s JOIN shop_order AS o ON o.id = s.order_id
        WHERE s.decides AND s.status IN ('passed', 'failed') AND o.status = 'under_review'
        """,
    )
    for (blocked,) in select("SELECT count(*) FROM shop_screening WHERE blocked_reason <> '' HAVING count(*) > 0"):
        yield Remark(text=f"{blocked} screenings wait for a person.")
