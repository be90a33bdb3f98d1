"""Mails for operators: to look at, not to change. Decisions go through notifications.services."""

import re
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from notifications.models import MailEvent, Message, MessageAttempt, MessageDecision


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AttemptInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # not generic at runtime
    model = MessageAttempt
    extra = 0
    verbose_name_plural = "calls to the provider"


class DecisionInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = MessageDecision
    extra = 0
    verbose_name_plural = "people's decisions"


class EventInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = MailEvent
    extra = 0
    fields = ["happened_at", "kind", "code", "cause", "received_at"]
    ordering = ["happened_at", "id"]
    verbose_name_plural = "what the provider says became of it"


@admin.register(Message)
class MessageAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["created_at", "order_number", "template", "status", "recipient", "attempts", "sent_at"]
    list_filter = ["status", "template"]
    search_fields = ["=order_id", "=recipient", "=public_id"]
    search_help_text = "An order's number, a recipient's address or a message id."
    ordering = ["-id"]
    show_full_result_count = False
    inlines = [AttemptInline, EventInline, DecisionInline]
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

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        """An order may be named as people do: O-000042."""
        number = re.fullmatch(r"\s*O-0*(\d+)\s*", search_term, flags=re.IGNORECASE)
        return super().get_search_results(request, queryset, number[1] if number else search_term)


@admin.register(MailEvent)
class MailEventAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["happened_at", "kind", "message", "code", "cause", "received_at"]
    list_filter = ["kind"]
    search_fields = ["=message__order_id", "=message__public_id", "=provider_id"]
    search_help_text = "An order's id, a message id or the provider's."
    list_select_related = ["message"]
    show_full_result_count = False
    ordering = ["-id"]
