"""Mails and what became of them, for operators."""

import uuid
from contextlib import suppress

from django.contrib import admin
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.utils.html import format_html
from django.utils.safestring import SafeString

from notifications.catalogue import MAILS
from notifications.models import MailEvent, Message, MessageAttempt
from outbox.ledger_admin import LedgerAdmin, ReadOnlyInline
from outbox.ledger_filters import among_newest, blocked
from shop import selectors

# SendGrid's (docs: Event Webhook reference); engagement is not asked for.
KINDS = ("processed", "deferred", "delivered", "bounce", "dropped", "spamreport")


def _order_number(term: str) -> Q:
    return Q(order_id=selectors.order_id_called(term))


def _recipient(term: str) -> Q:
    return Q(Exact(Lower(F("recipient")), term.lower()))


def _of_message(term: str) -> Q:
    wanted = _order_number(term)
    with suppress(ValueError):
        wanted |= Q(public_id=uuid.UUID(term))
    return Q(message__in=list(Message.objects.filter(wanted).values_list("pk", flat=True)))


class AttemptInline(ReadOnlyInline):
    model = MessageAttempt
    verbose_name_plural = "calls to the provider"


class EventInline(ReadOnlyInline):
    model = MailEvent
    fields = ["happened_at", "kind", "code", "cause", "received_at"]
    ordering = ["happened_at", "id"]
    verbose_name_plural = "what the provider says became of it"


@admin.register(Message)
class MessageAdmin(LedgerAdmin):
    list_display = ["created_at", "order_number", "template", "status", "recipient", "attempts", "sent_at"]
    list_filter = [
        "status",
        blocked({"pending", "sending", "ambiguous"}),
        among_newest("template", lambda: sorted({mail.template for mail in MAILS.values()})),
    ]
    found_by = (_order_number, _recipient, "public_id")
    search_help_text = "An order's number, a recipient's address or a message id."
    inlines = [AttemptInline, EventInline]
    fieldsets = [
        (None, {"fields": ["order_number", "template", "status", "blocked_reason", "recipient", "recipient_name"]}),
        ("What is sent", {"fields": ["subject", "preview"]}),
        (
            "On its way",
            {
                "fields": [
                    *("public_id", "provider_id", "created_at", "due_at", "sent_at", "ambiguous_at"),
                    *("attempts", "claimed_by", "event_id", "headers"),
                ]
            },
        ),
    ]

    @admin.display(description="Text")
    def preview(self, message: Message) -> SafeString:
        return format_html("<pre>{}</pre>", message.text)


@admin.register(MailEvent)
class MailEventAdmin(LedgerAdmin):
    list_display = ["happened_at", "kind", "message", "code", "cause", "received_at"]
    list_filter = [among_newest("kind", lambda: KINDS)]
    found_by = (_of_message,)
    search_help_text = "An order's number or a message id."
    list_select_related = ["message"]
