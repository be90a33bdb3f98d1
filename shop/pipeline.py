"""The orders' part of the pipeline."""

from collections.abc import Iterator

from outbox.feed_tokens import attached_feeds
from outbox.pipeline import Depth, WaitsFor, claim_depths, part, rows
from shop.feeds import WAREHOUSE
from shop.models import Order, Screening

Status = Order.Status

# Orders of one status that are counted. Counting them all would read an index as long as the store is old; what
# is under way is counted in full where the machines find it, in the log and among the payments.
CAP = 10_000

_WAITS_FOR = {
    Status.PLACED: WaitsFor.OTHERS,  # the log's line
    Status.UNDER_REVIEW: WaitsFor.PERSON,  # or a screening, which has a line of its own
    Status.AWAITING_PAYMENT: WaitsFor.OTHERS,  # the payment's line
    Status.ACTION_REQUIRED: WaitsFor.CUSTOMER,
    Status.PAYMENT_DECLINED: WaitsFor.CUSTOMER,
    Status.CANCELLING: WaitsFor.OTHERS,  # the payment's line, or the warehouse
    Status.ACCEPTED: WaitsFor.OTHERS,  # the warehouse, which has a line of its own
    Status.ON_HOLD: WaitsFor.OTHERS,  # the customer's bank
}


@part
def orders() -> Iterator[Depth]:
    """By status. Whom an order waits for follows from the log and its payment, which have lines of their own."""
    # A query of its own for each, so that the planner knows which are rare: one plan for all of them may walk the whole
    # table past the shipped orders, for each status that is empty. It did on a table that was not vacuumed yet.
    counted = " UNION ALL ".join(
        f"""
        SELECT '{status}' AS status, count(*), min(id) AS first
        FROM (SELECT id FROM shop_order WHERE status = '{status}' ORDER BY id LIMIT {CAP}) AS "{status}"
        """  # noqa: S608 - made of the code's own names
        for status in Status.values
    )
    for status, count, age in rows(
        f"""
        SELECT c.status, count, now() - created_at
        FROM ({counted}) AS c JOIN shop_order ON shop_order.id = first
        """  # noqa: S608 - made of the code's own names
    ):
        waits_for = _WAITS_FOR.get(Status(status), WaitsFor.NOBODY)
        yield Depth(
            place="orders",
            state=status,
            waits_for=waits_for,
            count=count,
            age=None if waits_for is WaitsFor.NOBODY else age,
            capped=count == CAP,
        )


@part
def picklists() -> Iterator[Depth]:
    """Orders that the warehouse has not answered for. Their line waits for it where one is attached; a store without
    one has them all in the lines above."""
    if WAREHOUSE not in attached_feeds():
        return
    ((count, age),) = rows(
        f"""
        SELECT count(*), now() - min(created_at)
        FROM (
            SELECT created_at FROM shop_order
            WHERE status IN ('accepted', 'cancelling', 'on_hold') AND process @> '{{"picking": true}}'
            ORDER BY id LIMIT {CAP}
        ) AS counted
        """  # noqa: S608 - made of the code's own numbers
    )
    yield Depth(
        place="orders",
        state="to be picked",
        waits_for=WaitsFor.PARTNER,
        count=count,
        age=age,
        capped=count == CAP,
    )


@part
def screenings() -> Iterator[Depth]:
    """By status; settled ones are not counted."""
    return claim_depths(Screening, place="screenings", unsettled="status IN ('pending', 'asking')", waits={})


@part
def clocks_and_concerns() -> Iterator[Depth]:
    for state, waits_for, statement in (
        (
            "clock has run out",
            WaitsFor.MACHINE,
            "SELECT count(*), now() - min(hold_until) FROM shop_order WHERE hold_until <= now()",
        ),
        (
            "concerns open",
            WaitsFor.PERSON,
            "SELECT count(*), now() - min(created_at) FROM shop_concern WHERE resolved_at IS NULL",
        ),
    ):
        ((count, age),) = rows(statement)
        if count:
            yield Depth(place="orders", state=state, waits_for=waits_for, count=count, age=age)
