"""The mails' books against the log's and the provider's."""

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.utils import timezone

from outbox.audit import Difference, Finding, Remark, SourceUnreadable, check, differing, select, source
from outbox.books import LOG, guarded
from outbox.sources import Reader, copied, view

MAIL = "mail provider"

# What SendGrid's Email Activity keeps, and how much of it one answer holds at most.
HISTORY = dt.timedelta(days=30)
PAGE = 1000

_SECOND = dt.timedelta(seconds=1)


@source(MAIL)
def read_mail() -> None:
    """Every accepted mail (docs.sendgrid.com, Email Activity). The list knows the provider's ids only, which
    lead to our messages by the journal; a mail whose answer we lost is asked for our own id singly."""
    reader = Reader(
        name=MAIL,
        base=settings.SENDGRID_API_BASE,
        key=settings.SENDGRID_API_KEY,
        key_setting="SENDGRID_API_KEY (with Email Activity access)",
    )
    now = timezone.now().replace(microsecond=0)
    seen: set[str] = set()
    with copied("books_mail", "msg_id text, provider_id text, to_email text") as append:
        for page in _windows(reader, now - HISTORY, now + HISTORY):
            fresh = [each for each in page if each["msg_id"] not in seen]
            append((each["msg_id"], each["msg_id"].partition(".")[0], each["to_email"]) for each in fresh)
            seen.update(each["msg_id"] for each in fresh)
    view(
        "books_mail_id",
        """
        SELECT provider_id, message_id FROM notifications_messageattempt WHERE provider_id <> ''
        UNION SELECT provider_id, id FROM notifications_message WHERE provider_id <> ''
        """,
    )
    strays = select("SELECT msg_id FROM books_mail WHERE provider_id NOT IN (SELECT provider_id FROM books_mail_id)")
    with copied("books_mail_meant", "msg_id text, public_id uuid") as append:
        append([(msg_id, _our_id(reader.get(f"/v3/messages/{msg_id}", {}))) for (msg_id,) in strays])
    # Each mail with the message it came from; null for one that is not ours.
    view(
        "books_sent",
        """
        SELECT mail.msg_id, mail.to_email, coalesce(known.message_id, meant.id) AS message_id, stray.public_id
        FROM books_mail AS mail
        LEFT JOIN books_mail_id AS known USING (provider_id)
        LEFT JOIN books_mail_meant AS stray USING (msg_id)
        LEFT JOIN notifications_message AS meant ON meant.public_id = stray.public_id
        """,
    )


def _windows(reader: Reader, start: dt.datetime, end: dt.datetime) -> Iterator[list[dict[str, Any]]]:
    """The lists of shorter and shorter periods, as the provider has no pages; earlier ones first: a mail whose
    last event changes meanwhile moves on into a later period and is not missed."""
    period = f'TIMESTAMP "{start:%Y-%m-%dT%H:%M:%SZ}" AND TIMESTAMP "{end:%Y-%m-%dT%H:%M:%SZ}"'
    query = f'from_email="{settings.MAIL_FROM}" AND last_event_time BETWEEN {period}'
    found: list[dict[str, Any]] = reader.get("/v3/messages", {"limit": PAGE, "query": query})["messages"]
    if len(found) < PAGE:
        yield found
        return
    if start >= end:
        raise SourceUnreadable(f"The {MAIL} lists at most {PAGE} mails at once, and the second {start} has more.")
    middle = (start + (end - start) / 2).replace(microsecond=0)
    yield from _windows(reader, start, middle)
    yield from _windows(reader, middle + _SECOND, end)


def _our_id(mail: dict[str, Any]) -> uuid.UUID | None:
    """Our id in the mail's arguments, which the provider shows as an object or as its JSON."""
    arguments = mail.get("unique_args") or mail.get("custom_args") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    try:
        return uuid.UUID(arguments.get("message_id", ""))
    except ValueError:
        return None


@check("S4", sources=[MAIL])
def mailed_once() -> Iterable[Difference]:
    """A mail was accepted at most once, unless a person asked for another or its kind is rather sent twice."""
    yield from differing(
        "accepted mails",
        """
        SELECT order_id, allowed || ' ' || template, count(*) || ': ' || string_agg(msg_id, ', ')
        FROM books_sent JOIN (
            SELECT m.id, m.order_id, m.template, m.recipient,
                   -- Of some kinds each event has a mail of its own.
                   CASE WHEN once THEN NULL ELSE event_id END AS event_id,
                   1 + rather_twice::int + (
                       SELECT count(*) FROM outbox_decision AS d
                       WHERE d.subject = 'notifications.message' AND d.subject_id = m.id::text AND d.kind = 'resend'
                   ) AS allowed
            FROM notifications_message AS m
        ) AS m ON m.id = message_id
        GROUP BY order_id, template, recipient, event_id, allowed HAVING count(*) > allowed
        """,
    )


@check("S7")
def mails_are_guarded() -> Iterable[Difference]:
    """The database itself refuses undeclared transitions of mails, and to rewrite their journal."""
    yield from guarded(notifications_message="declared_transitions", notifications_messageattempt="closed_once")


@check("Q4", sources=[LOG])
def mails_are_written() -> Iterable[Difference]:
    """Whoever is due a mail has one, and no mail was written about nothing."""
    yield from differing(
        "the mail for an event",
        """
        SELECT aggregateid, template || ' for ' || type || ' at ' || position, NULL
        FROM outbox_event AS e JOIN (VALUES
            ('OrderAccepted', 'order_confirmed', true),
            ('InventoryUnavailable', 'order_cancelled', true), ('OrderCancelled', 'order_cancelled', true),
            ('OrderPaymentFailed', 'order_cancelled', true), ('OrderFulfillmentFailed', 'order_cancelled', true),
            ('OrderShipped', 'order_shipped', true),
            ('PaymentDeclined', 'payment_declined', false), ('RefundProcessed', 'order_refunded', false),
            ('PaymentActionRequired', 'payment_action_required', false)
        ) AS due(type, template, once) USING (type)
        WHERE position <= (SELECT position FROM outbox_subscription WHERE name = 'messages')
          AND NOT EXISTS (
              SELECT FROM notifications_message AS m
              WHERE m.order_id = aggregateid::bigint AND m.template = due.template AND (once OR m.event_id = e.id)
          )
          AND NOT EXISTS (
              SELECT FROM outbox_parkedevent AS p WHERE p.id = e.id AND p.subscription_id = 'messages'
          )
          AND NOT EXISTS (
              SELECT FROM outbox_decision AS d
              WHERE d.subject = 'outbox.parkedevent' AND d.kind = 'skip'
                AND d.before LIKE '% for messages at % ' || e.id
          )
        """,
    )
    yield from differing(
        "the event of a mail",
        """
        SELECT order_id, 'the event that ' || template || ' is about', NULL
        FROM notifications_message AS m
        WHERE created_at > (SELECT since FROM books_kept)
          AND NOT EXISTS (SELECT FROM books_told AS e WHERE e.id = m.event_id)
        """,
    )


@check("Q4", sources=[MAIL])
def mails_were_sent() -> Iterable[Difference]:
    """What we call sent was accepted, for the right person, unless a person has said so; what was accepted is one of
    our mails."""
    # Half of the history: what is near its end may just have gone.
    yield from differing(
        "a sent mail",
        """
        SELECT order_id, template || ' accepted by the provider', NULL,
               (SELECT d.actor || ' has said that it was sent: ' || d.reason FROM outbox_decision AS d
                WHERE d.subject = 'notifications.message' AND d.subject_id = m.id::text AND d.kind = 'confirm'
                ORDER BY d.id DESC LIMIT 1)
        FROM notifications_message AS m
        WHERE status = 'sent' AND sent_at > now() - interval '15 days'
          AND NOT EXISTS (SELECT FROM books_sent AS s WHERE s.message_id = m.id)
        """,
    )
    yield from differing(
        "an accepted mail",
        """
        SELECT m.order_id, coalesce('for ' || m.template || ', to its recipient', 'a message of ours'),
               CASE WHEN m.id IS NULL THEN msg_id ELSE msg_id || ' to somebody else' END
        FROM books_sent AS s LEFT JOIN notifications_message AS m ON m.id = s.message_id
        WHERE (m.id IS NULL AND s.public_id IS NOT NULL) OR lower(m.recipient) <> lower(s.to_email)
        """,
    )


@check("Q8")
def mails_are_settled() -> Iterable[Finding]:
    """Every mail was sent or given up, or waits for the provider's word or for a person."""
    yield from differing(
        "a mail's status",
        """
        SELECT order_id, 'settled', template || ' ' || status || ' since ' || date_trunc('second', created_at)
        FROM notifications_message WHERE status IN ('pending', 'sending') AND blocked_reason = ''
        """,
    )
    for waiting, oldest in select(
        """
        SELECT count(*), date_trunc('second', now() - min(created_at)) FROM notifications_message
        WHERE status IN ('pending', 'sending', 'ambiguous') AND (status = 'ambiguous' OR blocked_reason <> '')
        HAVING count(*) > 0
        """
    ):
        yield Remark(text=f"Of {waiting} mails nobody knows whether they were sent, the oldest for {oldest}.")
    for (failed,) in select("SELECT count(*) FROM notifications_message WHERE status = 'failed' HAVING count(*) > 0"):
        yield Remark(text=f"{failed} mails were given up: a person may resend them.")
