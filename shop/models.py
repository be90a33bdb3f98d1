"""The catalogue, the stock and the orders. Money is integer minor units of the store's one currency."""

import functools
import secrets
import uuid
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Concat, Lower, Now
from django.urls import reverse

from outbox.claims import Claimable
from outbox.questions import Question
from outbox.transitions import Graph

# Who orders, and where it goes, however they are written: indexed for the rules that count (shop/velocity.py).
# The second line of an address is left out: whoever wants to look like many people varies that.
SENDER = Lower("email")
DESTINATION = Func(
    Lower(Concat("country", "postal_code", "address")),
    Value("[[:space:][:punct:]]+"),
    Value(""),
    Value("g"),
    function="regexp_replace",
    output_field=models.TextField(),
)


@functools.lru_cache(maxsize=1000)
def _page(token: str) -> str:
    """Several times in each request that has to do with an order."""
    return reverse("order", args=[token])


def _token() -> str:
    """128 random bits: nobody guesses another customer's order page."""
    return secrets.token_urlsafe(16)


class Product(models.Model):
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    category = models.CharField(max_length=60, db_index=True)
    summary = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    price = models.BigIntegerField(validators=[MinValueValidator(1)], help_text="Minor units.")
    image = models.CharField(max_length=200, blank=True, help_text="Path below static/.")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["name"]
        permissions: ClassVar = [("move_stock", "Can record goods that came or are gone")]
        constraints = [models.CheckConstraint(condition=Q(price__gt=0), name="product_price_positive")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.slug])


class Stock(models.Model):
    """What is in the warehouse (`on_hand`) and how much of it is promised to orders (`reserved`)."""

    product = models.OneToOneField(Product, on_delete=models.PROTECT, primary_key=True, related_name="stock")
    on_hand = models.IntegerField(default=0)
    reserved = models.IntegerField(default=0)

    class Meta:
        verbose_name_plural = "stock"
        constraints = [
            models.CheckConstraint(
                condition=Q(reserved__gte=0, on_hand__gte=F("reserved")), name="stock_never_promised_twice"
            )
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: {self.on_hand} on hand, {self.reserved} reserved"

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class StockMovement(models.Model):
    """Every change of `on_hand` as a row: the sum of a product's movements is its stock."""

    class Kind(models.TextChoices):
        RECEIPT = "receipt"
        RETURN = "return"
        SHIPMENT = "shipment"
        CORRECTION = "correction"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=10, choices=Kind)
    quantity = models.IntegerField(help_text="Positive into the warehouse, negative out of it.")
    order = models.ForeignKey("Order", null=True, blank=True, on_delete=models.PROTECT)
    actor = models.CharField(max_length=150, default="system")
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(quantity=0), name="movement_moves_something")]
        # What people record, among a hundred times as many shipments, which this index costs nothing.
        indexes = [models.Index(fields=["id"], name="movement_by_hand", condition=~Q(kind="shipment"))]

    def __str__(self) -> str:
        return f"{self.kind} {self.quantity:+d} of {self.product_id}"


class ShippingMethod(models.Model):
    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    price = models.BigIntegerField(help_text="Minor units.")
    days = models.CharField(max_length=40, help_text="What the shopper may expect, such as 2–3 working days.")
    position = models.PositiveSmallIntegerField(default=0)
    active = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["position", "price"]
        constraints = [models.CheckConstraint(condition=Q(price__gte=0), name="shipping_price_not_negative")]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """One order. Its status is that of the order process (shop/process_managers.py), which alone changes it."""

    class Status(models.TextChoices):
        PLACED = "placed"  # written with its hold → under_review, awaiting_payment, cancelling
        UNDER_REVIEW = "under_review"  # nothing charged; a person or a screening → awaiting_payment, cancelling
        AWAITING_PAYMENT = "awaiting_payment"  # the payment is released → any below
        ACTION_REQUIRED = "action_required", "action required"  # 3-D Secure → accepted, payment_declined, …
        PAYMENT_DECLINED = "payment_declined"  # another card may follow → awaiting_payment, cancelling
        CANCELLING = "cancelling"  # asked to end; waits for the bank's answer → cancelled, accepted, …
        ACCEPTED = "accepted"  # paid; the warehouse may pick → shipped, on_hold, cancelling, fulfillment_failed
        ON_HOLD = "on_hold", "on hold"  # paid and disputed, not shipped → accepted, shipped, cancelled
        SHIPPED = "shipped"
        FULFILLMENT_FAILED = "fulfillment_failed"
        PAYMENT_FAILED = "payment_failed"
        CANCELLED = "cancelled"

    # Exactly where the order process leads (a test walks it), and sold out at once: placed → cancelled.
    TRANSITIONS: ClassVar[Graph] = {
        "placed": frozenset(
            {"under_review", "awaiting_payment", "cancelling", "accepted", "payment_failed", "cancelled"}
        ),
        "under_review": frozenset({"awaiting_payment", "cancelling", "accepted", "payment_failed"}),
        "awaiting_payment": frozenset(
            {"action_required", "payment_declined", "accepted", "cancelling", "payment_failed"}
        ),
        "action_required": frozenset({"payment_declined", "accepted", "cancelling", "payment_failed"}),
        "payment_declined": frozenset(
            {"awaiting_payment", "action_required", "accepted", "cancelling", "payment_failed"}
        ),
        "cancelling": frozenset({"cancelled", "accepted", "payment_failed", "shipped"}),
        "accepted": frozenset({"shipped", "cancelling", "on_hold", "fulfillment_failed"}),
        "on_hold": frozenset({"accepted", "shipped", "cancelled"}),
    }

    token = models.CharField(max_length=32, unique=True, default=_token, editable=False)
    status = models.CharField(max_length=20, choices=Status, default=Status.PLACED)
    process = models.JSONField(default=dict, help_text="The order process's own state, versioned.")
    version = models.PositiveIntegerField(default=1, help_text="Raised by every change; the page's ETag.")

    hold_until = models.DateTimeField(
        null=True, blank=True, help_text="While the customer has to act: when the order ends by itself."
    )

    # One for each content of a cart; the digest is of everything the shopper sent with it.
    checkout_token = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=64, editable=False)

    currency = models.CharField(max_length=3)
    subtotal = models.BigIntegerField()
    shipping_price = models.BigIntegerField()
    total = models.BigIntegerField()
    shipping_method = models.ForeignKey(ShippingMethod, on_delete=models.PROTECT)

    # Personal data: here and in messages only.
    name = models.CharField(max_length=120)
    email = models.EmailField(max_length=254)
    address = models.CharField(max_length=200)
    address_2 = models.CharField(max_length=200, blank=True)
    postal_code = models.CharField(max_length=20)
    city = models.CharField(max_length=100)
    country = models.CharField(max_length=2, help_text="ISO 3166-1, two letters.")

    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        permissions: ClassVar = [
            ("cancel_order", "Can cancel orders"),
            ("review_order", "Can accept and reject orders under review"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(total=F("subtotal") + F("shipping_price"), total__gt=0),
                name="order_total_adds_up",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "id"], name="order_by_status"),
            models.Index(SENDER, "created_at", name="order_by_sender"),
            models.Index(Lower("name"), name="order_by_name"),
            models.Index(DESTINATION, "created_at", name="order_by_destination"),
            models.Index(fields=["hold_until"], name="order_hold", condition=Q(hold_until__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        return _page(self.token)

    @property
    def number(self) -> str:
        """What people say on the telephone."""
        return f"O-{self.pk:06d}"


class OrderLine(models.Model):
    """A product as it was bought; `hold` says what became of the goods reserved for it."""

    class Hold(models.TextChoices):
        NONE = "none"  # never reserved: it was short, or another line of its order was
        HELD = "held"  # → released, consumed; exactly once
        RELEASED = "released"
        CONSUMED = "consumed"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    name = models.CharField(max_length=120)
    unit_price = models.BigIntegerField()
    quantity = models.PositiveIntegerField()
    hold = models.CharField(max_length=8, choices=Hold)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="line_once_per_product"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="line_has_quantity"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.name}"

    @property
    def amount(self) -> int:
        return self.unit_price * self.quantity


class Screening(Claimable):
    """A question about an order to a service outside, which is slow and sometimes away: the order stays under review
    until it is answered or given up (shop/screening.py)."""

    class Status(models.TextChoices):
        PENDING = "pending"  # due → asking
        ASKING = "asking"  # claimed, the service may have the question → passed, failed, pending, unanswered
        PASSED = "passed"
        FAILED = "failed"
        UNANSWERED = "unanswered"  # given up: a person decides without it

    class Outcome(models.TextChoices):
        ANSWERED = "answered"
        REFUSED = "refused"  # it does not take this question and never will
        NOT_SENT = "not_sent"  # no connection was made, or turned away unread (429, a wrong key): nothing was asked
        UNKNOWN = "unknown"  # anything else: it may have been asked, and may be asked again

    CLAIMED_STATUS = {Status.PENDING.value: Status.ASKING.value}
    TRANSITIONS: ClassVar[Graph] = {
        "pending": frozenset({"asking"}),
        "asking": frozenset({"passed", "failed", "pending", "unanswered"}),
    }
    FINAL = frozenset({Status.PASSED, Status.FAILED, Status.UNANSWERED})
    TIMES: ClassVar = {"settled_at": FINAL}
    BELL = "screenings"

    public_id = models.UUIDField(
        unique=True, default=uuid.uuid4, editable=False, help_text="Our reference: asked twice, it is one question."
    )
    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="screening")
    decides = models.BooleanField(help_text="The order waits for this answer alone; otherwise a person decides.")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True, help_text="Of the last call.")
    detail = models.TextField(blank=True, help_text="The service's or the network's own words at the last call.")
    check_id = models.CharField(max_length=255, blank=True, help_text="The service's name for its answer.")
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta(Claimable.Meta):
        constraints = [
            *Claimable.Meta.constraints,
            models.CheckConstraint(
                condition=Q(
                    status__in=["passed", "failed", "unanswered"],
                    settled_at__isnull=False,
                    due_at__isnull=True,
                    token__isnull=True,
                )
                | Q(status__in=["pending", "asking"], settled_at__isnull=True)
                & (Q(due_at__isnull=False) | ~Q(blocked_reason="")),
                name="screening_waits_for_somebody_until_final",
            ),
            models.CheckConstraint(
                condition=~Q(status="asking") | Q(token__isnull=False), name="screening_asking_is_claimed"
            ),
        ]
        indexes = [
            *Claimable.Meta.indexes,
            # All but the ordinary end, so that the rare ones are found at once.
            models.Index(
                fields=["status", "id"],
                name="screening_not_passed",
                condition=Q(settled_at__isnull=True) | ~Q(status="passed"),
            ),
        ]

    def __str__(self) -> str:
        return f"screening of {self.order_id}"


class Concern(Question):
    """Something about an order that no machine may decide: it waits for a person, with its age."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="concerns")
    kind = models.CharField(max_length=60, help_text="The fact that raised it.")
    detail = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta(Question.Meta):
        permissions: ClassVar = [("resolve_concern", "Can look after concerns and resolve them")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.order_id}"


class Shipment(models.Model):
    """A fact that the warehouse reported, by its own reference; repeated, it is the same row."""

    class Kind(models.TextChoices):
        SHIPPED = "shipped"
        SHORT = "short"
        WITHDRAWN = "withdrawn"

    reference = models.CharField(max_length=100, unique=True, help_text="The warehouse's own.")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="shipments")
    kind = models.CharField(max_length=10, choices=Kind)
    carrier = models.CharField(max_length=60, blank=True)
    tracking = models.CharField(max_length=100, blank=True)
    sequence = models.BigIntegerField(
        null=True, help_text="The warehouse's own numbering of its reports, which may arrive in another order."
    )
    reported_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} {self.order_id} ({self.reference})"


class TryCount(models.Model):
    """How often one source has tried something in one window of time (shop/limits.py)."""

    source = models.CharField(max_length=80, help_text="What is counted, and a keyed digest of who did it.")
    ends_at = models.DateTimeField(db_index=True, help_text="The end of the window; afterwards the row is deleted.")
    tries = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "ends_at"], name="tries_once_per_window")]

    def __str__(self) -> str:
        return f"{self.tries} by {self.source} until {self.ends_at}"
