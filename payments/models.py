"""Payments and the journal of every call made for them. An order is known here only by its id."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox.claims import Claimable
from outbox.transitions import Graph
from payments.bank_models import BankEvent as BankEvent  # Django looks for models here
from payments.bank_models import BankEventCursor as BankEventCursor
from payments.bank_models import Breaker as Breaker
from payments.bank_models import Bucket as Bucket
from payments.bank_models import Difference as Difference
from payments.bank_models import ReconciliationCursor as ReconciliationCursor
from payments.gateways.base import Outcome


class Payment(Claimable):
    """One for each order, with one intent at the bank: so at most one successful charge, by construction."""

    class Status(models.TextChoices):
        UNPROCESSED = "unprocessed"  # due_at empty until the order process releases it → processing, canceling
        PROCESSING = "processing"  # claimed; a call may be under way → any, by token only
        UNKNOWN = "unknown"  # resolved by reading the bank, never by paying again
        REQUIRES_ACTION = "requires_action"  # the customer must confirm; only read from now on
        DECLINED = "declined"  # definite for this card; only read → unprocessed (another card), canceling, succeeded
        CANCELING = "canceling"  # asked to end → canceled, failed, succeeded (too late)
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELED = "canceled"

    CLAIMED_STATUS = {Status.UNPROCESSED.value: Status.PROCESSING.value}
    TRANSITIONS: ClassVar[Graph] = {
        "unprocessed": frozenset({"processing", "canceling", "canceled"}),
        "processing": frozenset(
            {"unprocessed", "unknown", "requires_action", "declined", "canceling", "succeeded", "failed"}
        ),
        "unknown": frozenset({"requires_action", "declined", "canceling", "succeeded", "failed"}),
        "requires_action": frozenset({"unknown", "declined", "canceling", "succeeded", "failed"}),
        "declined": frozenset({"unprocessed", "canceling", "succeeded", "failed"}),
        "canceling": frozenset({"canceled", "succeeded"}),
    }
    NUDGED = frozenset({Status.PROCESSING, Status.UNKNOWN, Status.REQUIRES_ACTION, Status.CANCELING})
    FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})
    TIMES: ClassVar = {"settled_at": FINAL}
    BELL = "payments"

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    order_id = models.BigIntegerField(unique=True)
    reference = models.CharField(max_length=40, unique=True, help_text="The order's number, as the bank shows it.")
    amount = models.BigIntegerField(help_text="Minor units.")
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=16, choices=Status, default=Status.UNPROCESSED)

    payment_method = models.CharField(max_length=255, help_text="The bank's id of the card, never its number.")
    card_no = models.PositiveIntegerField(default=1, help_text="Raised with every card the customer gives.")
    generation = models.PositiveIntegerField(default=0, help_text="Raised when an idempotency key is spent.")
    return_url = models.CharField(max_length=500, help_text="Where 3-D Secure sends the customer back to.")

    intent_id = models.CharField(max_length=255, blank=True)
    latest_charge = models.CharField(max_length=255, blank=True)
    action_url = models.CharField(max_length=2000, blank=True, help_text="Where the customer confirms.")
    failure_code = models.CharField(max_length=100, blank=True, help_text="The bank's reason, for the page's words.")

    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta(Claimable.Meta):
        permissions: ClassVar = [
            ("operate_payment", "Can have payments, refunds and disputes tried, read and unblocked"),
            ("refund_payment", "Can ask for refunds"),
        ]
        constraints = [
            *Claimable.Meta.constraints,
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "unprocessed",
                        "processing",
                        "unknown",
                        "requires_action",
                        "declined",
                        "canceling",
                    ],
                    settled_at__isnull=True,
                )
                | Q(
                    status__in=["succeeded", "failed", "canceled"],
                    settled_at__isnull=False,
                    due_at__isnull=True,
                    token__isnull=True,
                ),
                name="payment_settled_exactly_when_final",
            ),
            models.CheckConstraint(
                condition=~Q(status="processing") | Q(token__isnull=False),
                name="payment_processing_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["succeeded", "requires_action", "declined"]) | ~Q(intent_id=""),
                name="payment_outcome_has_intent",
            ),
            models.UniqueConstraint(fields=["intent_id"], name="payment_intent_once", condition=~Q(intent_id="")),
        ]
        indexes = [
            *Claimable.Meta.indexes,
            # All but the ordinary end, so that the rare ones are found at once.
            models.Index(
                fields=["status", "id"],
                name="payment_not_succeeded",
                condition=Q(settled_at__isnull=True) | ~Q(status="succeeded"),
            ),
        ]

    def __str__(self) -> str:
        return f"payment of {self.reference}"

    def create_key(self) -> str:
        return f"payment:{self.public_id}:create:{self.generation}"

    def confirm_key(self) -> str:
        return f"payment:{self.public_id}:confirm:{self.card_no}:{self.generation}"


class Refund(Claimable):
    """Money back, by its own row and its own key: two equal refunds are two rows, one refund is one row.

    The sum of a payment's refunds is checked under the payment's lock.
    """

    class Status(models.TextChoices):
        AWAITING_APPROVAL = "awaiting_approval"  # above the limit: a second person → unprocessed, canceled
        UNPROCESSED = "unprocessed"  # → processing
        PROCESSING = "processing"  # claimed; a call may be under way → any below
        UNKNOWN = "unknown"  # found again at the bank by our id, never sent twice
        PENDING = "pending"  # the bank has it and is not done → succeeded, failed
        SUCCEEDED = "succeeded"  # → failed: a bank may send the money back days later
        FAILED = "failed"
        CANCELED = "canceled"  # not approved, or overtaken by the refund of everything

    CLAIMED_STATUS = {Status.UNPROCESSED.value: Status.PROCESSING.value}
    TRANSITIONS: ClassVar[Graph] = {
        "awaiting_approval": frozenset({"unprocessed", "canceled"}),
        "unprocessed": frozenset({"processing"}),
        "processing": frozenset({"unprocessed", "unknown", "pending", "succeeded", "failed"}),
        "unknown": frozenset({"pending", "succeeded", "failed"}),
        "pending": frozenset({"succeeded", "failed"}),
        "succeeded": frozenset({"pending", "failed"}),
    }
    NUDGED = frozenset({Status.PROCESSING, Status.UNKNOWN, Status.PENDING, Status.SUCCEEDED})
    FINAL = frozenset({Status.FAILED, Status.CANCELED})
    TIMES: ClassVar = {"settled_at": frozenset({Status.SUCCEEDED, *FINAL})}
    BELL = "refunds"

    # Refunds that count against what may still be refunded.
    COUNTED = frozenset(set(Status.values) - FINAL)

    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    request_token = models.CharField(max_length=100, unique=True, help_text="One request, one refund.")
    amount = models.BigIntegerField(help_text="Minor units.")
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=Status, default=Status.UNPROCESSED)
    refund_id = models.CharField(max_length=255, blank=True, help_text="The bank's.")
    failure_code = models.CharField(max_length=100, blank=True)
    requested_by = models.CharField(max_length=150)
    approved_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta(Claimable.Meta):
        permissions: ClassVar = [("approve_refund", "Can approve what somebody else has asked for")]
        constraints = [
            *Claimable.Meta.constraints,
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=models.F("requested_by")), name="refund_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=["awaiting_approval", "unprocessed", "processing", "unknown", "pending"],
                    settled_at__isnull=True,
                )
                | Q(status__in=["succeeded", "failed", "canceled"], settled_at__isnull=False),
                name="refund_settled_exactly_when_done",
            ),
            models.CheckConstraint(
                condition=~Q(status="processing") | Q(token__isnull=False), name="refund_processing_is_claimed"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["awaiting_approval", "failed", "canceled"]) | Q(due_at__isnull=True),
                name="refund_claimed_only_when_it_may",
            ),
            models.UniqueConstraint(fields=["refund_id"], name="refund_id_once", condition=~Q(refund_id="")),
        ]
        indexes = [*Claimable.Meta.indexes, models.Index(fields=["status", "id"], name="refund_by_status")]

    def __str__(self) -> str:
        return f"refund {self.pk} of payment {self.payment_id}"

    def key(self) -> str:
        return f"refund:{self.public_id}"


class Dispute(Claimable):
    """The customer's bank wants money back. The row is written when the bank first names the dispute, and filled in
    when it has shown it."""

    class Status(models.TextChoices):
        UNREAD = "unread"  # named by a webhook, not read yet → open, closed
        OPEN = "open"  # → closed; the customer's bank decides within weeks
        CLOSED = "closed"  # won, lost or warning_closed

    TRANSITIONS: ClassVar[Graph] = {"unread": frozenset({"open", "closed"}), "open": frozenset({"closed"})}
    NUDGED = frozenset({Status.UNREAD, Status.OPEN})
    FINAL = frozenset({Status.CLOSED})
    TIMES: ClassVar = {"closed_at": FINAL}
    BELL = "disputes"

    dispute_id = models.CharField(max_length=255, unique=True, help_text="The bank's.")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    status = models.CharField(max_length=16, choices=Status, default=Status.UNREAD)
    amount = models.BigIntegerField(null=True, blank=True, help_text="Minor units; empty until it was read.")
    currency = models.CharField(max_length=3, blank=True)
    reason = models.CharField(max_length=100, blank=True, help_text="The bank's word for what the customer says.")
    bank_status = models.CharField(max_length=40, blank=True, help_text="What the bank calls it.")
    refundable = models.BooleanField(default=False, help_text="An inquiry: a refund would still end it.")
    created_at = models.DateTimeField(db_default=Now())
    opened_at = models.DateTimeField(null=True, blank=True, help_text="By the bank's clock.")
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta(Claimable.Meta):
        constraints = [
            *Claimable.Meta.constraints,
            models.CheckConstraint(
                condition=Q(status="unread", amount__isnull=True, opened_at__isnull=True)
                | (~Q(status="unread") & Q(amount__isnull=False, opened_at__isnull=False)),
                name="dispute_read_has_its_facts",
            ),
            models.CheckConstraint(
                condition=Q(status="closed", closed_at__isnull=False, due_at__isnull=True, token__isnull=True)
                | (~Q(status="closed") & Q(closed_at__isnull=True)),
                name="dispute_closed_exactly_when_final",
            ),
        ]
        indexes = [
            *Claimable.Meta.indexes,
            models.Index(fields=["status", "id"], name="dispute_unsettled", condition=Q(closed_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"dispute {self.dispute_id} about payment {self.payment_id}"


class PaymentAttempt(models.Model):
    """The journal: a row before each call, closed once after it. A trigger refuses any other change.

    An attempt that was never closed belongs to a worker that died: its outcome is in doubt.
    """

    class Phase(models.TextChoices):
        CREATE = "create"
        CONFIRM = "confirm"
        RETRIEVE = "retrieve"
        CANCEL = "cancel"
        ADOPT = "adopt"  # no call of ours: reconciliation found the intent that the payment had lost
        REFUND = "refund"
        REFUND_READ = "refund_read"
        REFUND_FIND = "refund_find"
        DISPUTE_READ = "dispute_read"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="journal")
    refund = models.ForeignKey("Refund", null=True, blank=True, on_delete=models.PROTECT, related_name="journal")
    phase = models.CharField(max_length=12, choices=Phase)
    key = models.CharField(max_length=255, blank=True, help_text="The idempotency key; empty for a read.")
    request = models.JSONField(default=dict, help_text="The exact body that was sent with the key.")
    card_no = models.PositiveIntegerField()
    worker = models.CharField(max_length=128)
    started_at = models.DateTimeField(db_default=Now())

    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    request_id = models.CharField(max_length=255, blank=True, help_text="The bank's; for a telephone call.")
    replayed = models.BooleanField(default=False)
    bank_status = models.CharField(max_length=40, blank=True, help_text="What the bank calls the object.")
    code = models.CharField(max_length=100, blank=True)
    decline_code = models.CharField(max_length=100, blank=True)
    message = models.TextField(blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    claim_lost = models.BooleanField(default=False, help_text="Answered after its lease: kept as a fact only.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True, outcome="") | (Q(finished_at__isnull=False) & ~Q(outcome="")),
                name="attempt_closed_with_outcome",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["payment", "id"], name="attempt_of_payment")]

    def __str__(self) -> str:
        return f"{self.phase} of payment {self.payment_id}"
