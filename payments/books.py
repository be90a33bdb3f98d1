"""The payments' books against the bank's and the log's."""

from collections.abc import Iterable

from outbox.audit import Difference, Finding, Remark, check, differing, select
from outbox.books import LOG, guarded, told
from payments import dispute_books  # noqa: F401 - more checks
from payments.bank_books import BANK


@check("S1", sources=[BANK])
def charged_once() -> Iterable[Difference]:
    """An order has at most one succeeded intent, in its payment's currency and for its amount, unless a person is
    asked."""
    # The number of an order that was lost with an older backup may be another's by now.
    yield from differing(
        "succeeded intents of an order",
        """
        SELECT order_id, 1, count(*) || ': ' || string_agg(id, ', '),
               CASE WHEN count(*) - count(because) <= 1 THEN string_agg(because, '; ') END
        FROM (
            SELECT order_id, id, pg_temp.asked(id, 'two_intents', 'unknown_payment') AS because
            FROM books_intent JOIN (
                SELECT order_id FROM books_intent
                WHERE status = 'succeeded' AND order_id IS NOT NULL GROUP BY order_id HAVING count(*) > 1
            ) AS several USING (order_id)
            WHERE status = 'succeeded'
        ) AS i GROUP BY order_id
        """,
    )
    yield from differing(
        "an intent's amount",
        """
        SELECT order_id, owed || ' ' || owed_currency, received || ' ' || currency || ' by ' || id,
               pg_temp.asked(id, 'intent_differs')
        FROM books_intent AS i
        WHERE status = 'succeeded' AND (received, currency) IS DISTINCT FROM (owed, owed_currency)
          AND payment_id IS NOT NULL
        """,
    )


@check("S1", sources=[BANK])
def paid_is_charged() -> Iterable[Difference]:
    """What is paid in the database is charged at the bank, unless a person is asked."""
    yield from differing(
        "a paid payment's intent",
        """
        SELECT p.order_id, 'succeeded: ' || p.intent_id, coalesce(i.status, 'no such intent at the bank'),
               pg_temp.asked(p.intent_id, 'paid_not_charged')
        FROM books_paid AS p LEFT JOIN books_bank_intent AS i ON i.id = p.intent_id
        WHERE i.status IS DISTINCT FROM 'succeeded'
        """,
    )


@check("S1", sources=[BANK])
def charged_is_known() -> Iterable[Difference]:
    """What is charged at the bank belongs to a payment in the database, unless a person is asked."""
    yield from differing(
        "a charge's payment",
        """
        SELECT order_id, 'a payment for ' || id, NULL, pg_temp.asked(id, 'unknown_payment') FROM books_intent AS i
        WHERE status = 'succeeded' AND payment_id IS NULL
        """,
    )


@check("S2", sources=[BANK])
def refunds_within_the_charge() -> Iterable[Difference]:
    """Refunds are never more than the charge, at the bank and in the database."""
    yield from differing(
        "an intent's refunds",
        """
        SELECT i.order_id, 'at most ' || i.received, greatest(i.refunded, r.amount) || ' of ' || i.id
        FROM books_intent AS i
        LEFT JOIN (
            SELECT intent_id, sum(amount) AS amount FROM books_bank_refund
            WHERE status NOT IN ('failed', 'canceled') GROUP BY 1
        ) AS r ON r.intent_id = i.id
        WHERE greatest(i.refunded, r.amount) > i.received
        """,
    )
    yield from differing(
        "a payment's refunds",
        """
        SELECT p.order_id, 'at most ' || p.amount || ' ' || p.currency, sum(r.amount) || ' ' || min(r.currency)
        FROM payments_payment AS p JOIN payments_refund AS r ON r.payment_id = p.id
        WHERE r.status NOT IN ('failed', 'canceled')
        GROUP BY p.id HAVING sum(r.amount) > p.amount OR bool_or(r.currency <> p.currency)
        """,
    )


@check("S3", sources=[BANK])
def ended_without_money() -> Iterable[Difference]:
    """A failed or canceled payment has no succeeded intent, unless its money goes back or a person is asked."""
    yield from differing(
        "the intents of a payment that ended without money",
        """
        SELECT order_id, payment_status || ', nothing charged', received || ' ' || currency || ' by ' || id,
               pg_temp.asked(id, 'charged_not_paid', 'two_intents')
        FROM books_intent AS i
        WHERE status = 'succeeded' AND payment_status IN ('failed', 'canceled')
          AND NOT EXISTS (SELECT FROM payments_refund AS r WHERE r.payment_id = i.payment_id)
        """,
    )


@check("S7")
def payments_are_guarded() -> Iterable[Difference]:
    """The database itself refuses undeclared transitions of payments and refunds, and to rewrite their journal."""
    yield from guarded(
        payments_payment="declared_transitions",
        payments_refund="declared_transitions",
        payments_paymentattempt="closed_once",
    )


@check("Q1", sources=[BANK])
def charged_is_paid() -> Iterable[Difference]:
    """What is charged at the bank is paid in the database, or was sent back, unless a person is asked."""
    yield from differing(
        "the payment of a charge",
        """
        SELECT order_id, 'succeeded', payment_status || ', with ' || id,
               pg_temp.asked(id, 'charged_not_paid', 'two_intents')
        FROM books_intent AS i WHERE status = 'succeeded' AND payment_status <> 'succeeded'
          AND received > coalesce((
              SELECT sum(amount) FROM payments_refund AS r WHERE r.payment_id = i.payment_id AND r.status = 'succeeded'
          ), 0)
        """,
    )


@check("Q1", sources=[BANK])
def the_bank_did_what_was_asked() -> Iterable[Finding]:
    """No card was tried at the bank without a row in the journal; no intent that we know is missing there."""
    yield from differing(
        "the journal of an intent",
        """
        SELECT order_id, 'a confirm attempt for ' || id, NULL, pg_temp.asked(id, 'unknown_payment', 'two_intents')
        FROM books_intent AS i
        WHERE (payment_id IS NOT NULL AND charge <> ''
               OR status IN ('succeeded', 'requires_action', 'processing', 'requires_capture'))
          AND NOT EXISTS (
              SELECT FROM payments_paymentattempt AS a
              -- One that an older backup had lost was tried in a journal that is lost, too.
              WHERE a.payment_id = i.payment_id AND a.phase IN ('confirm', 'adopt')
          )
        """,
    )
    for (refused,) in select(
        """
        SELECT count(*) FROM books_bank_intent AS b JOIN books_intent AS i USING (id)
        WHERE i.payment_id IS NULL AND b.charge <> '' AND b.status IN ('requires_payment_method', 'canceled')
        HAVING count(*) > 0
        """
    ):
        yield Remark(text=f"{refused} intents without a payment of ours have only refused cards: no money moved.")
    yield from differing(
        "the intent of a payment",
        """
        SELECT order_id, intent_id, 'no such intent at the bank', pg_temp.asked(intent_id, 'paid_not_charged')
        FROM payments_payment AS p
        WHERE intent_id <> '' AND NOT EXISTS (SELECT FROM books_bank_intent AS i WHERE i.id = p.intent_id)
        """,
    )


@check("Q2", sources=[BANK])
def refunds_are_the_same() -> Iterable[Difference]:
    """Each refund at the bank is one row of ours that says the same, and back, unless a person is asked."""
    # What a person pays back by hand, of a charge that we have lost or that came twice, has no row.
    yield from differing(
        "a refund at the bank",
        """
        SELECT i.order_id, 'one row', count(r.row_id) || ' for ' || string_agg(r.id, ', '),
               CASE WHEN count(*) - count(because) <= count(DISTINCT r.row_id) THEN string_agg(because, '; ') END
        FROM (
            SELECT *, coalesce(pg_temp.asked(b.id, 'refund_without_row'),
                               pg_temp.asked(b.intent_id, 'unknown_payment', 'two_intents')) AS because
            FROM books_refund AS b WHERE row_id IS NOT NULL OR status NOT IN ('failed', 'canceled')
        ) AS r LEFT JOIN books_intent AS i ON i.id = r.intent_id
        GROUP BY i.order_id, coalesce(r.row_id::text, r.id) HAVING count(*) > 1 OR count(r.row_id) = 0
        """,
    )
    yield from differing(
        "a refund",
        """
        SELECT p.order_id, concat_ws(' ', r.amount, r.currency, r.status, r.refund_id),
               CASE WHEN b.id IS NULL THEN 'none at the bank'
                    ELSE concat_ws(' ', b.amount, b.currency, b.status, b.id) END,
               coalesce(pg_temp.asked(r.refund_id, 'refund_not_at_bank'),
                        pg_temp.asked(b.id, 'refund_differs', 'refund_without_row'))
        FROM payments_refund AS r
        JOIN payments_payment AS p ON p.id = r.payment_id
        LEFT JOIN books_refund AS b ON b.row_id = r.id
        WHERE r.blocked_reason = '' AND CASE
            WHEN b.id IS NULL THEN r.status IN ('pending', 'succeeded') OR r.refund_id <> ''
            ELSE (r.amount, r.currency, r.refund_id, r.status) IS DISTINCT FROM (b.amount, b.currency, b.id,
                CASE b.status WHEN 'requires_action' THEN 'pending' WHEN 'canceled' THEN 'failed' ELSE b.status END)
        END
        """,
    )


@check("Q3", sources=[LOG])
def payments_tell_once() -> Iterable[Finding]:
    """Each transition of a payment and of a refund has its one event, and each event its transition."""
    yield from told(
        rows="payments_payment",
        order="order_id",
        created="created_at",
        events={
            "PaymentProcessed": ("(status = 'succeeded')::int", "(status = 'succeeded')::int"),
            "PaymentFailed": ("(status = 'failed')::int", "(status = 'failed')::int"),
            "PaymentCanceled": ("(status = 'canceled')::int", "(status = 'canceled')::int"),
            # A card follows only on the refusal of the one before.
            "PaymentDeclined": ("card_no - 1 + (status = 'declined')::int", "card_no"),
            "PaymentActionRequired": ("(status = 'requires_action')::int", "card_no"),
        },
    )
    yield from told(
        rows="""(
            SELECT p.order_id, p.created_at, count(*) FILTER (WHERE r.status = 'succeeded') AS done,
                   count(*) FILTER (WHERE r.status = 'failed') AS failed
            FROM payments_payment AS p LEFT JOIN payments_refund AS r ON r.payment_id = p.id GROUP BY p.id
        ) AS refunded""",
        order="order_id",
        created="created_at",
        # A refund may fail after it had succeeded.
        events={"RefundProcessed": ("done", "done + failed"), "RefundFailed": ("failed", "failed")},
    )
    yield from differing(
        "events of one card",
        """
        SELECT aggregateid, 'one ' || type || ' of card ' || (payload ->> 'card_no'), count(*)
        FROM books_told WHERE type IN ('PaymentDeclined', 'PaymentActionRequired')
        GROUP BY aggregateid, type, payload ->> 'card_no' HAVING count(*) > 1
        """,
    )
    yield from differing(
        "what PaymentProcessed says",
        """
        SELECT p.order_id, concat_ws(' ', p.amount, p.currency, p.intent_id),
               concat_ws(' ', payload ->> 'amount', payload ->> 'currency', payload ->> 'intent_id')
        FROM books_told JOIN payments_payment AS p ON p.order_id::text = aggregateid
        WHERE type = 'PaymentProcessed' AND (p.amount::text, p.currency, p.intent_id) IS DISTINCT FROM
              (payload ->> 'amount', payload ->> 'currency', payload ->> 'intent_id')
        """,
    )


@check("Q8")
def payments_are_settled() -> Iterable[Finding]:
    """Every payment and refund has ended, or waits for the customer, for its order, for the bank or a person."""
    yield from differing(
        "a payment's status",
        """
        SELECT order_id, 'settled', status || ', of an order of ' || date_trunc('second', created_at)
        FROM payments_payment
        WHERE settled_at IS NULL AND blocked_reason = '' AND status NOT IN ('requires_action', 'declined')
          AND NOT (status = 'unprocessed' AND due_at IS NULL)
        """,
    )
    yield from differing(
        "a refund's status",
        """
        SELECT p.order_id, 'settled', r.status || ', asked for at ' || date_trunc('second', r.created_at)
        FROM payments_refund AS r JOIN payments_payment AS p ON p.id = r.payment_id
        WHERE r.status IN ('unprocessed', 'processing', 'unknown') AND r.blocked_reason = ''
        """,
    )
    for what, waiting, oldest in select(
        """
        SELECT 'blocked payments wait for a person', count(*), date_trunc('second', now() - min(created_at))
        FROM payments_payment WHERE settled_at IS NULL AND blocked_reason <> ''
        UNION ALL
        SELECT CASE WHEN blocked_reason <> '' THEN 'blocked refunds wait for a person'
                    WHEN status = 'pending' THEN 'refunds wait for the bank'
                    ELSE 'refunds wait for a second person' END, count(*),
               date_trunc('second', now() - min(created_at))
        FROM payments_refund WHERE status IN ('awaiting_approval', 'pending') OR blocked_reason <> '' GROUP BY 1
        UNION ALL
        SELECT 'differences from the bank''s books ' || CASE
                   WHEN healing THEN 'are being healed' WHEN owner = '' THEN 'wait for a person'
                   ELSE 'wait for ' || owner END || ' (' || kind || ')',
               count(*), date_trunc('second', now() - min(first_seen))
        FROM payments_difference WHERE resolved_at IS NULL GROUP BY 1
        """
    ):
        if waiting:
            yield Remark(text=f"{waiting} {what}, the oldest for {oldest}.")
