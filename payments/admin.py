"""Payments, refunds, disputes and the bank's own words for operators: to look at, not to change."""

from django.contrib import admin

from outbox.admin import ReadOnlyAdmin, ReadOnlyInline
from payments.models import BankEvent, Dispute, Payment, PaymentAttempt, Refund
from payments.money import display


class AttemptInline(ReadOnlyInline):
    model = PaymentAttempt
    fields = ["started_at", "phase", "outcome", "http_status", "code", "duration_ms", "worker", "request_id"]
    ordering = ["id"]
    verbose_name_plural = "calls to the bank"


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = ["created_at", "amount", "currency", "status", "reason", "requested_by", "approved_by", "refund_id"]
    ordering = ["id"]


class DisputeInline(ReadOnlyInline):
    model = Dispute
    fields = ["opened_at", "amount", "currency", "bank_status", "reason", "dispute_id", "closed_at"]
    ordering = ["id"]


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = [
        "reference",
        "charge",
        "status",
        "failure_code",
        "blocked_reason",
        "attempts",
        "due_at",
        "created_at",
    ]
    list_filter = ["status"]
    search_fields = ["=reference", "=order_id", "=intent_id", "=public_id"]
    search_help_text = "An order's number or id, the bank's intent, or our id."
    ordering = ["-id"]
    inlines = [RefundInline, DisputeInline, AttemptInline]

    @admin.display(description="amount", ordering="amount")
    def charge(self, payment: Payment) -> str:
        return display(amount=payment.amount, currency=payment.currency)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ["id", "payment", "back", "status", "reason", "requested_by", "approved_by", "created_at"]
    list_filter = ["status"]
    search_fields = ["=payment__reference", "=refund_id", "=public_id"]
    search_help_text = "An order's number, the bank's refund, or our id."
    list_select_related = ["payment"]
    ordering = ["-id"]

    @admin.display(description="amount", ordering="amount")
    def back(self, refund: Refund) -> str:
        return display(amount=refund.amount, currency=refund.currency)


@admin.register(PaymentAttempt)
class PaymentAttemptAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "payment", "phase", "outcome", "http_status", "code", "decline_code", "duration_ms"]
    list_filter = ["phase", "outcome"]
    search_fields = ["=payment__reference", "=request_id", "=key"]
    search_help_text = "An order's number, the bank's request id, or an idempotency key."
    list_select_related = ["payment"]
    ordering = ["-id"]


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = ["dispute_id", "payment", "claimed", "status", "bank_status", "reason", "opened_at", "closed_at"]
    list_filter = ["status", "bank_status"]
    search_fields = ["=payment__reference", "=dispute_id"]
    search_help_text = "An order's number, or the bank's dispute."
    list_select_related = ["payment"]
    ordering = ["-id"]

    @admin.display(description="amount", ordering="amount")
    def claimed(self, dispute: Dispute) -> str:
        return "" if dispute.amount is None else display(amount=dispute.amount, currency=dispute.currency)


@admin.register(BankEvent)
class BankEventAdmin(ReadOnlyAdmin):
    list_display = ["received_at", "type", "status", "listed", "intent_id", "refund_id", "dispute_id", "created"]
    list_filter = ["status", "listed", "type"]
    search_fields = ["=event_id", "=intent_id", "=refund_id", "=dispute_id"]
    search_help_text = "The bank's event, intent, refund or dispute."
    ordering = ["-id"]
