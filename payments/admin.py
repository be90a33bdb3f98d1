"""Payments, refunds, disputes and the bank's own words, for operators."""

from django.contrib import admin
from django.db.models import Q

from outbox.ledger_admin import LedgerAdmin, ReadOnlyInline
from outbox.ledger_filters import among_newest, blocked, one_of
from payments.gateways.base import Outcome
from payments.gateways.notices import TYPES
from payments.models import BankEvent, Breaker, Bucket, Difference, Dispute, Payment, PaymentAttempt, Refund
from payments.money import display

# Stripe's, of a dispute (docs.stripe.com/api/disputes/object).
BANK_STATUSES = (
    *("warning_needs_response", "warning_under_review", "warning_closed"),
    *("needs_response", "under_review", "won", "lost"),
)


def _of_payment(term: str) -> Q:
    """The rows of the payment with that order number, order id or intent."""
    wanted = Q(reference=term.upper()) | Q(intent_id=term)
    if term.isdecimal():
        wanted |= Q(order_id=term)
    return Q(payment__in=list(Payment.objects.filter(wanted).values_list("pk", flat=True)))


def _reference(term: str) -> Q:
    return Q(reference=term.upper())


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
class PaymentAdmin(LedgerAdmin):
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
    list_filter = ["status", blocked(set(Payment.Status.values) - Payment.FINAL)]
    found_by = (_reference, "order_id", "intent_id", "public_id")
    search_help_text = "An order's number or id, the bank's intent, or our id."
    inlines = [RefundInline, DisputeInline, AttemptInline]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    *("reference", "order_id", "charge", "status", "failure_code", "blocked_reason"),
                    *("created_at", "settled_at"),
                ]
            },
        ),
        ("At the bank", {"fields": ["intent_id", "latest_charge", "payment_method", "card_no", "action_url"]}),
        (
            "On its way",
            {
                "fields": [
                    *("public_id", "due_at", "claimed_by", "attempts", "nudges", "generation"),
                    *("return_url", "headers"),
                ]
            },
        ),
    ]

    @admin.display(description="amount")
    def charge(self, payment: Payment) -> str:
        return display(amount=payment.amount, currency=payment.currency)


@admin.register(Refund)
class RefundAdmin(LedgerAdmin):
    list_display = ["id", "payment", "back", "status", "reason", "requested_by", "approved_by", "created_at"]
    list_filter = ["status", blocked({"unprocessed", "processing", "unknown", "pending"})]
    found_by = (_of_payment, "refund_id", "public_id")
    search_help_text = "An order's number or id, the bank's refund or intent, or our id."
    list_select_related = ["payment"]

    @admin.display(description="amount")
    def back(self, refund: Refund) -> str:
        return display(amount=refund.amount, currency=refund.currency)


@admin.register(PaymentAttempt)
class PaymentAttemptAdmin(LedgerAdmin):
    list_display = ["started_at", "payment", "phase", "outcome", "http_status", "code", "decline_code", "duration_ms"]
    list_filter = [
        among_newest("phase", lambda: PaymentAttempt.Phase.values),
        among_newest("outcome", lambda: ["", *Outcome.values]),
    ]
    found_by = (_of_payment,)
    search_help_text = "An order's number or id, or the bank's intent."
    list_select_related = ["payment"]


@admin.register(Dispute)
class DisputeAdmin(LedgerAdmin):
    list_display = ["dispute_id", "payment", "claimed", "status", "bank_status", "reason", "opened_at", "closed_at"]
    list_filter = ["status", one_of("bank_status", lambda: BANK_STATUSES)]
    found_by = (_of_payment, "dispute_id")
    search_help_text = "An order's number or id, or the bank's dispute."
    list_select_related = ["payment"]

    @admin.display(description="amount")
    def claimed(self, dispute: Dispute) -> str:
        return "" if dispute.amount is None else display(amount=dispute.amount, currency=dispute.currency)


@admin.register(BankEvent)
class BankEventAdmin(LedgerAdmin):
    list_display = ["received_at", "type", "status", "listed", "intent_id", "refund_id", "dispute_id", "created"]
    list_filter = ["status", among_newest("type", lambda: TYPES)]
    found_by = ("event_id", "intent_id")
    search_help_text = "The bank's event or intent."


@admin.register(Breaker)
class BreakerAdmin(LedgerAdmin):
    list_display = ["gateway", "status", "reason", "open_since", "retry_at", "changed_at", "changed_by"]


@admin.register(Bucket)
class BucketAdmin(LedgerAdmin):
    list_display = ["gateway", "tokens", "rate", "filled_at"]


@admin.register(Difference)
class DifferenceAdmin(LedgerAdmin):
    list_display = [
        "first_seen",
        "kind",
        "amounts",
        "order_id",
        "about",
        "owner",
        "healing",
        "last_seen",
        "resolved_at",
    ]
    list_filter = ["kind", "healing", ("resolved_at", admin.EmptyFieldListFilter)]
    found_by = ("order_id", "about", "intent_id")
    search_help_text = "An order's id, or the bank's intent or refund."

    @admin.display(description="amount")
    def amounts(self, difference: Difference) -> str:
        return display(amount=difference.amount, currency=difference.currency)
