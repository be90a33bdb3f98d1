"""The log, its readers and what people decided, for operators."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.forms import ModelForm
from django.http import HttpRequest

from outbox import context, feed_tokens, operating, registry
from outbox.events import declared
from outbox.ledger_admin import LedgerAdmin
from outbox.ledger_filters import among_newest, one_of
from outbox.models import (
    AuditRun,
    Decision,
    Event,
    FeedToken,
    Heartbeat,
    LogHead,
    OutboxRecord,
    ParkedEvent,
    Subscription,
)


def _event_types() -> list[str]:
    return sorted({type_name for type_name, _ in declared()})


@admin.register(Event)
class EventAdmin(LedgerAdmin):
    list_display = ["position", "type", "aggregatetype", "aggregateid", "version", "created_at"]
    list_filter = [among_newest("type", _event_types)]
    found_by = ("aggregateid", "position")
    search_help_text = "An order's id, or a position."


@admin.register(OutboxRecord)
class OutboxRecordAdmin(LedgerAdmin):
    list_display = ["seq", "type", "aggregateid", "created_at"]
    ordering = ["seq"]


@admin.register(LogHead)
class LogHeadAdmin(LedgerAdmin):
    list_display = ["id", "position", "purged_through"]


@admin.register(Subscription)
class SubscriptionAdmin(LedgerAdmin):
    list_display = ["name", "position", "paused", "moved_at"]
    list_filter = ["paused"]
    ordering = ["name"]


class FeedTokenForm(ModelForm):  # type: ignore[type-arg]  # not generic at runtime
    feed = forms.ChoiceField(help_text="Its one scope.")
    reason = forms.CharField(max_length=500, help_text="Kept for good, beside your name.")

    class Meta:
        model = FeedToken
        fields = ("feed", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "feed" in self.fields:
            self.fields["feed"].choices = [(each.name, each.name) for each in registry.feeds()]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        live = Q(feed=found.get("feed"), name=found.get("name"), revoked_at__isnull=True)
        if FeedToken.objects.filter(live).exists():
            self.add_error("name", "A live token of that feed has the name: revoke it first, or choose another.")
        return found


@admin.register(FeedToken)
class FeedTokenAdmin(LedgerAdmin):
    """Made here or by `manage.py feed_token`; the secret is shown once."""

    list_display = ["feed", "name", "created_at", "last_used_at", "revoked_at"]
    list_filter = [one_of("feed", lambda: [each.name for each in registry.feeds()])]
    found_by = ("name",)
    exclude = ["digest"]
    secret = frozenset({"digest"})
    ordering = ["feed", "name", "-id"]
    form = FeedTokenForm

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("outbox.manage_feed_tokens")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["feed", "name", "created_at", "last_used_at", "revoked_at"] if obj else ["feed", "name", "reason"]

    def save_model(self, request: HttpRequest, obj: FeedToken, form: Any, change: bool) -> None:
        values = form.cleaned_data
        token = feed_tokens.create(
            feed=values["feed"], name=values["name"], actor=context.current().actor, reason=values["reason"]
        )
        obj.pk = int(token.partition(".")[0])
        messages.warning(request, f"The token, shown this once: {token}")


@admin.register(ParkedEvent)
class ParkedEventAdmin(LedgerAdmin):
    list_display = ["position", "subscription", "type", "aggregateid", "status", "attempts", "due_at", "parked_at"]
    list_filter = ["status", "subscription", one_of("type", _event_types)]
    found_by = ("aggregateid", "position")
    search_help_text = "An order's id, or a position."
    list_select_related = ["subscription"]


@admin.register(Decision)
class DecisionAdmin(LedgerAdmin):
    list_display = ["created_at", "kind", "subject", "subject_id", "order", "actor", "reason", "before", "after"]
    list_filter = [one_of("subject", lambda: sorted(each.label for each in operating.subjects()))]
    found_by = ("aggregateid",)
    search_help_text = "An order's id."

    @admin.display(description="order")
    def order(self, decision: Decision) -> str:
        return decision.aggregateid


@admin.register(AuditRun)
class AuditRunAdmin(LedgerAdmin):
    list_display = ["finished_at", "checks", "differences", "unreadable", "seconds", "detail"]


@admin.register(Heartbeat)
class HeartbeatAdmin(LedgerAdmin):
    list_display = ["loop", "process", "beat_at", "started_at", "handled", "error"]
    list_filter = ["loop"]
    ordering = ["loop", "-beat_at"]
