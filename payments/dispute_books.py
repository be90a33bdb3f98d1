"""The disputes' books against the bank's and the log's."""

from collections.abc import Iterable

from outbox.audit import Difference, Finding, Remark, check, differing, select
from outbox.books import LOG, guarded, told
from payments.bank_books import BANK


@check("S7")
def disputes_are_guarded() -> Iterable[Difference]:
    """The database itself refuses undeclared transitions of disputes."""
    yield from guarded(payments_dispute="declared_transitions")


@check("Q1", sources=[BANK])
def disputes_are_the_same() -> Iterable[Difference]:
    """Each dispute at the bank is one row of ours that says the same, and back, unless a person is asked about its
    charge."""
    # Ten minutes: where its webhook is missed, the bank's list of events is compared twice in that time.
    yield from differing(
        "a dispute at the bank",
        """
        SELECT i.order_id, 'a row for ' || b.id, NULL, pg_temp.asked(b.intent_id, 'unknown_payment', 'two_intents')
        FROM books_bank_dispute AS b LEFT JOIN books_intent AS i ON i.id = b.intent_id
        WHERE b.opened_at < now() - interval '10 minutes'
          AND NOT EXISTS (SELECT FROM payments_dispute AS d WHERE d.dispute_id = b.id)
        """,
    )
    yield from differing(
        "a dispute",
        """
        SELECT p.order_id, concat_ws(' ', d.amount, d.currency, d.bank_status, d.dispute_id),
               CASE WHEN b.id IS NULL THEN 'none at the bank'
                    WHEN b.intent_id <> p.intent_id THEN 'about ' || b.intent_id
                    ELSE concat_ws(' ', b.amount, b.currency, b.status, b.id) END
        FROM payments_dispute AS d
        JOIN payments_payment AS p ON p.id = d.payment_id
        LEFT JOIN books_bank_dispute AS b ON b.id = d.dispute_id
        WHERE d.blocked_reason = '' AND (
            b.id IS NULL OR b.intent_id <> p.intent_id
            OR d.status <> 'unread' AND (d.amount, d.currency, d.bank_status) <> (b.amount, b.currency, b.status)
        )
        """,
    )


@check("Q3", sources=[LOG])
def disputes_tell_once() -> Iterable[Finding]:
    """Each dispute was told when it was opened and when it ended, once."""
    yield from told(
        rows="""(
            SELECT p.order_id, p.created_at, count(*) FILTER (WHERE d.status <> 'unread') AS opened,
                   count(*) FILTER (WHERE d.status = 'closed') AS closed
            FROM payments_payment AS p JOIN payments_dispute AS d ON d.payment_id = p.id GROUP BY p.id
        ) AS disputed""",
        order="order_id",
        created="created_at",
        events={"DisputeOpened": ("opened", "opened"), "DisputeClosed": ("closed", "closed")},
    )


@check("Q8")
def disputes_are_settled() -> Iterable[Finding]:
    """Every dispute was read, and has ended or waits for the customer's bank; the bank's events are about things
    that we know."""
    yield from differing(
        "a dispute's status",
        """
        SELECT p.order_id, 'read', 'unread since ' || date_trunc('second', d.created_at)
        FROM payments_dispute AS d JOIN payments_payment AS p ON p.id = d.payment_id
        WHERE d.status = 'unread' AND d.blocked_reason = ''
        """,
    )
    for what, waiting, oldest in select(
        """
        SELECT CASE WHEN blocked_reason <> '' THEN 'blocked disputes wait for a person'
                    ELSE 'disputes wait for the customer''s bank' END,
               count(*), date_trunc('second', now() - min(created_at))
        FROM payments_dispute WHERE closed_at IS NULL GROUP BY 1
        UNION ALL
        SELECT 'events of the bank are about nothing that we know (' || status || ')',
               count(*), date_trunc('second', now() - min(received_at))
        FROM payments_bankevent WHERE status <> 'applied' AND status <> 'set_aside' GROUP BY status
        """
    ):
        yield Remark(text=f"{waiting} {what}, the oldest for {oldest}.")
