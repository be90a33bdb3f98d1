"""Reading the bank's books: every intent with its charge, every refund and every dispute, as it lists them."""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from outbox.audit import source
from outbox.sources import Reader, copied, snapshot, view

BANK = "bank"


@source(BANK)
def read_bank() -> None:
    """Our paid payments first, then the bank: so a charge made meanwhile never looks like a missing one.

    What must be known to us because the bank knows it is looked up afterwards, by the checks.
    """
    snapshot("books_paid", "SELECT order_id, intent_id FROM payments_payment WHERE status = 'succeeded'")
    money = "received bigint, refunded bigint, currency text, charge text, disputed boolean"
    with copied("books_bank_intent", f"id text, status text, {money}, order_ref text, payment_ref uuid") as append:
        for page in _pages("/v1/payment_intents", {"expand[]": "data.latest_charge"}):
            append(_intent(each) for each in page)
    refunds = "id text, intent_id text, status text, amount bigint, currency text, refund_ref uuid"
    with copied("books_bank_refund", refunds) as append:
        for page in _pages("/v1/refunds", {}):
            append(_refund(each) for each in page)
    disputes = "id text, intent_id text, status text, amount bigint, currency text, opened_at timestamptz"
    with copied("books_bank_dispute", disputes) as append:
        for page in _pages("/v1/disputes", {}):
            append(_dispute(each) for each in page)
    # Each intent with its payment, and each refund with its row: by the id we saved or, where that was lost, by our
    # public id in its metadata.
    view(
        "books_intent",
        """
        SELECT i.*, coalesce(saved.id, meant.id) AS payment_id,
               coalesce(saved.order_id::text, meant.order_id::text, nullif(i.order_ref, '')) AS order_id,
               coalesce(saved.status, meant.status) AS payment_status,
               coalesce(saved.amount, meant.amount) AS owed,
               coalesce(saved.currency, meant.currency) AS owed_currency
        FROM books_bank_intent AS i
        LEFT JOIN payments_payment AS saved ON saved.intent_id = i.id
        LEFT JOIN payments_payment AS meant ON meant.public_id = i.payment_ref
        """,
    )
    view(
        "books_refund",
        """
        SELECT b.*, coalesce(saved.id, meant.id) AS row_id
        FROM books_bank_refund AS b
        LEFT JOIN payments_refund AS saved ON saved.refund_id = b.id
        LEFT JOIN payments_refund AS meant ON meant.public_id = b.refund_ref
        """,
    )
    # What a person was asked about, and who has decided it: the newest word on each object. What a machine is healing,
    # or has healed, is no excuse for anything.
    snapshot(
        "books_asked",
        """
        SELECT DISTINCT ON (kind, about) kind, about, kind || CASE
            WHEN resolved_at IS NOT NULL THEN ': ' || resolved_by || ' has resolved it: ' || resolution
            ELSE ' has waited for a person for ' || date_trunc('second', now() - first_seen)
                || CASE owner WHEN '' THEN '' ELSE ', looked after by ' || owner END
            END AS because
        FROM payments_difference
        WHERE CASE WHEN resolved_at IS NULL THEN NOT healing ELSE resolved_by NOT LIKE 'system:%' END
        ORDER BY kind, about, id DESC
        """,
    )
    # What the bank's object of that id is excused by, as one of these kinds; null for nothing.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE OR REPLACE FUNCTION pg_temp.asked(object text, VARIADIC kinds text[]) RETURNS text
            LANGUAGE sql STABLE AS $$
                SELECT string_agg(because, '; ') FROM books_asked WHERE about = object AND kind = ANY (kinds)
            $$
            """
        )


def _pages(path: str, params: dict[str, str | int]) -> Iterator[list[dict[str, Any]]]:
    """Stripe's lists, newest first (docs.stripe.com/api/pagination). Raises SourceUnreadable."""
    reader = Reader(
        name=BANK,
        base=settings.STRIPE_API_BASE,
        key=settings.STRIPE_SECRET_KEY,
        key_setting="STRIPE_SECRET_KEY",
    )
    params = {**params, "limit": 100}
    while True:
        page = reader.get(path, params)
        yield page["data"]
        if not page["has_more"]:
            return
        params["starting_after"] = page["data"][-1]["id"]


def _intent(intent: dict[str, Any]) -> Sequence[object]:
    charge = intent["latest_charge"] or {"id": "", "amount_refunded": 0, "disputed": False}
    metadata = intent["metadata"]
    return (
        intent["id"],
        intent["status"],
        intent["amount_received"],
        charge["amount_refunded"],
        intent["currency"].upper(),
        charge["id"],
        charge["disputed"],
        metadata.get("order_id", ""),
        _uuid(metadata.get("payment", "")),
    )


def _refund(refund: dict[str, Any]) -> Sequence[object]:
    return (
        refund["id"],
        refund["payment_intent"],
        refund["status"],
        refund["amount"],
        refund["currency"].upper(),
        _uuid(refund["metadata"].get("refund", "")),
    )


def _dispute(dispute: dict[str, Any]) -> Sequence[object]:
    return (
        dispute["id"],
        dispute["payment_intent"],
        dispute["status"],
        dispute["amount"],
        dispute["currency"].upper(),
        dt.datetime.fromtimestamp(dispute["created"], tz=dt.UTC),
    )


def _uuid(text: str) -> uuid.UUID | None:
    """None for what somebody else wrote there."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
