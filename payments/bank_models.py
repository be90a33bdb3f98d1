"""Rows about the bank as a whole: whether it may be asked for money now and how fast, what it has told us, and where
its books differ from ours."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox.questions import Question
from outbox.transitions import Graph


class Breaker(models.Model):
    """Whether charges and refunds flow to a gateway, for every worker of the store (`payments.breaker`).

    What only reads or cancels is never held back.
    """

    class Status(models.TextChoices):
        CLOSED = "closed"  # they flow; watched → open
        OPEN = "open"  # they wait; a probe is let through at retry_at → closed
        HELD_OPEN = "held_open"  # they wait until a person says otherwise
        FORCED_CLOSED = "forced_closed"  # they flow, whatever the bank answers

    TRANSITIONS: ClassVar[Graph] = {
        "closed": frozenset({"open", "held_open", "forced_closed"}),
        "open": frozenset({"closed", "held_open", "forced_closed"}),
        "held_open": frozenset({"closed", "forced_closed"}),
        "forced_closed": frozenset({"closed", "held_open"}),
    }
    STOPS = frozenset({Status.OPEN, Status.HELD_OPEN})

    gateway = models.CharField(max_length=30, unique=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.CLOSED)
    reason = models.CharField(max_length=500, blank=True, help_text="Why it is as it is.")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, default="system", help_text="A worker, or a person.")
    open_since = models.DateTimeField(null=True, blank=True, help_text="After a while of it the store takes no orders.")
    retry_at = models.DateTimeField(null=True, blank=True, help_text="When the next probe is let through.")
    pauses = models.PositiveIntegerField(default=0, help_text="Pauses in a row: each is longer, up to a bound.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["closed", "forced_closed"], open_since__isnull=True)
                | Q(status__in=["open", "held_open"], open_since__isnull=False),
                name="breaker_open_since_it_opened",
            ),
            models.CheckConstraint(
                condition=Q(status="open", retry_at__isnull=False) | (~Q(status="open") & Q(retry_at__isnull=True)),
                name="breaker_probes_while_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.get_status_display().lower()}"


class Bucket(models.Model):
    """Tokens for calls to a gateway, shared by every worker of the store (`payments.limiter`)."""

    gateway = models.CharField(max_length=30, unique=True)
    tokens = models.FloatField()
    rate = models.FloatField(help_text="Tokens a second; lowered when the bank says that we are too fast.")
    filled_at = models.DateTimeField(
        db_default=Now(), help_text="Up to when it was filled; in the future while the bank wants us to wait."
    )

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(tokens__gte=0, rate__gt=0), name="bucket_holds_what_it_has")]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.tokens:.1f} tokens, {self.rate:.1f} a second"


class BankEvent(models.Model):
    """Something the bank has told us, kept once by its event id: a reason to look at an object again, never what it
    has become. Ids and times only."""

    class Status(models.TextChoices):
        WAITING = "waiting"  # about something we do not have (yet): tried again at due_at → applied, unmatched
        APPLIED = "applied"  # what it is about has been nudged
        UNMATCHED = "unmatched"  # given up after a day: a person may want to know whose that is → set_aside
        SET_ASIDE = "set_aside"  # a person knows what it was about, and that it is nothing of ours

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=100)
    livemode = models.BooleanField()
    created = models.DateTimeField(help_text="By the bank's clock.")
    intent_id = models.CharField(max_length=255, blank=True)
    refund_id = models.CharField(max_length=255, blank=True)
    dispute_id = models.CharField(max_length=255, blank=True)
    payment_ref = models.UUIDField(null=True, blank=True, help_text="Our payment's id, where the object carries it.")
    refund_ref = models.UUIDField(null=True, blank=True, help_text="Our refund's id, where the object carries it.")
    listed = models.BooleanField(default=False, help_text="Its webhook did not come: found in the bank's list.")
    received_at = models.DateTimeField(db_default=Now())

    status = models.CharField(max_length=16, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status="waiting", due_at__isnull=False, applied_at__isnull=True)
                | Q(status="applied", due_at__isnull=True, applied_at__isnull=False)
                | Q(status__in=["unmatched", "set_aside"], due_at__isnull=True, applied_at__isnull=True),
                name="bank_event_waits_until_it_is_done",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["due_at", "id"], name="bank_event_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["status", "id"], name="bank_event_open", condition=~Q(status="applied")),
            models.Index(fields=["intent_id"], name="bank_event_of_intent"),
        ]

    def __str__(self) -> str:
        return f"{self.type} ({self.event_id})"


class BankEventCursor(models.Model):
    """One row: up to which event we have compared the bank's list with what its webhooks brought."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    event_id = models.CharField(max_length=255, blank=True)
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="bank_event_cursor_single_row")]

    def __str__(self) -> str:
        return f"through {self.event_id}"


class Difference(Question):
    """The bank and we do not say the same about something (`payments.reconciliation`). One row while it is open."""

    class Kind(models.TextChoices):
        CHARGED_NOT_PAID = "charged_not_paid"  # the bank has charged; our payment says otherwise
        PAID_NOT_CHARGED = "paid_not_charged"  # our payment is paid; the bank has no such charge
        UNKNOWN_PAYMENT = "unknown_payment"  # an intent of ours whose payment is gone: an older backup was restored
        TWO_INTENTS = "two_intents"  # a second intent of one payment that can move, or has moved, money
        INTENT_DIFFERS = "intent_differs"  # amount or currency
        REFUND_WITHOUT_ROW = "refund_without_row"  # the bank has refunded what we know nothing of
        REFUND_NOT_AT_BANK = "refund_not_at_bank"  # we know of a refund that the bank does not have
        REFUND_DIFFERS = "refund_differs"  # amount, currency or what became of it

    # The others are about an intent.
    ABOUT_REFUNDS = frozenset({Kind.REFUND_WITHOUT_ROW, Kind.REFUND_NOT_AT_BANK, Kind.REFUND_DIFFERS})

    kind = models.CharField(max_length=30, choices=Kind)
    about = models.CharField(max_length=255, help_text="The bank's intent or refund.")
    intent_id = models.CharField(max_length=255, blank=True)
    order_id = models.BigIntegerField(null=True, blank=True, help_text="Ours, or the one in the bank's metadata.")
    reference = models.CharField(max_length=40, blank=True, help_text="The order's number, where the bank knows it.")
    payment = models.ForeignKey(
        "payments.Payment", null=True, blank=True, on_delete=models.PROTECT, related_name="differences"
    )
    amount = models.BigIntegerField(help_text="Minor units, as the bank says; ours where it has none.")
    currency = models.CharField(max_length=3)
    detail = models.CharField(max_length=500, help_text="What each side says.")
    healing = models.BooleanField(default=False, help_text="A worker was asked to look: the next time will tell.")
    happened_at = models.DateTimeField(help_text="When the bank made it; ours where the bank has none.")
    first_seen = models.DateTimeField(db_default=Now())
    last_seen = models.DateTimeField(db_default=Now())

    class Meta(Question.Meta):
        permissions: ClassVar = [("resolve_difference", "Can look after differences from the bank's books")]
        constraints = [
            *Question.Meta.constraints,
            models.UniqueConstraint(
                fields=["kind", "about"], condition=Q(resolved_at__isnull=True), name="difference_once_while_open"
            ),
        ]
        indexes: ClassVar = [*Question.Meta.indexes, models.Index(fields=["about"], name="difference_about")]

    def __str__(self) -> str:
        return f"{self.get_kind_display().lower()}: {self.about}"


class ReconciliationCursor(models.Model):
    """Where the scheduled reconciliation stopped in one of the bank's lists, as its time was over."""

    class Listing(models.TextChoices):
        INTENTS = "intents"
        REFUNDS = "refunds"

    listing = models.CharField(max_length=10, primary_key=True, choices=Listing)
    before = models.DateTimeField(
        null=True, help_text="By the bank's clock: what is older is compared next. Empty: it begins with the newest."
    )
    moved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.listing} before {self.before}" if self.before else f"{self.listing}: all compared"
