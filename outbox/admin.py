"""The log and its readers for operators: to look at, not to change."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from outbox.models import (
    Event,
    FeedToken,
    Heartbeat,
    LogHead,
    OutboxRecord,
    ParkedEvent,
    Subscription,
    SubscriptionAction,
)


class ReadOnly:
    """For everybody, whatever their permissions: rows change through the apps' own functions alone."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at runtime
    # Counting a ledger's every row for "of 1,234,567" costs more than the page.
    show_full_result_count = False
    list_per_page = 50
    actions = None


class ReadOnlyInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    extra = 0


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["position", "type", "aggregatetype", "aggregateid", "version", "created_at"]
    list_filter = ["type"]
    search_fields = ["=aggregateid", "=id"]
    search_help_text = "An order's id, or an event's."
    ordering = ["-position"]


@admin.register(OutboxRecord)
class OutboxRecordAdmin(ReadOnlyAdmin):
    list_display = ["seq", "type", "aggregateid", "created_at"]
    search_fields = ["=aggregateid"]
    ordering = ["seq"]


@admin.register(LogHead)
class LogHeadAdmin(ReadOnlyAdmin):
    list_display = ["position", "purged_through"]


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ["name", "position", "paused", "moved_at"]
    search_fields = ["name"]
    ordering = ["name"]


@admin.register(FeedToken)
class FeedTokenAdmin(ReadOnlyAdmin):
    """Made and revoked by `manage.py feed_token`."""

    list_display = ["feed", "name", "created_at", "last_used_at", "revoked_at"]
    list_filter = ["feed"]
    search_fields = ["name"]
    exclude = ["digest"]
    ordering = ["feed", "name", "-id"]


@admin.register(ParkedEvent)
class ParkedEventAdmin(ReadOnlyAdmin):
    list_display = ["position", "subscription", "type", "aggregateid", "status", "attempts", "due_at", "parked_at"]
    list_filter = ["status", "subscription", "type"]
    search_fields = ["=aggregateid", "=id"]
    list_select_related = ["subscription"]
    ordering = ["subscription", "position"]


@admin.register(SubscriptionAction)
class SubscriptionActionAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "subscription", "kind", "position", "actor", "reason"]
    list_filter = ["kind", "subscription"]
    search_fields = ["=actor", "reason"]
    list_select_related = ["subscription"]
    ordering = ["-id"]


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ["loop", "process", "beat_at", "started_at", "handled", "error"]
    list_filter = ["loop"]
    search_fields = ["process"]
    ordering = ["loop", "-beat_at"]
