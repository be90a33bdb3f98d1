"""Mails and the journal of every call made for them. An order is known here by its id and its number."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from outbox.claims import Claimable
from outbox.transitions import Graph


class Message(Claimable):
    """One mail because of one event. What is sent is written down when that is decided: an operator sees exactly
    what the customer gets, and a later deploy changes no mail that waits.

    With the orders, the only place of personal data.
    """

    class Status(models.TextChoices):
        PENDING = "pending"  # due → sending
        SENDING = "sending"  # claimed, the call may be under way → sent, failed, pending (never sent), ambiguous
        AMBIGUOUS = "ambiguous"  # may have been sent → sent by evidence, pending only by a person's resend
        SENT = "sent"  # the provider has taken it
        FAILED = "failed"  # certainly not sent, given up → pending by a person's resend

    CLAIMED_STATUS = {Status.PENDING.value: Status.SENDING.value}
    TRANSITIONS: ClassVar[Graph] = {
        "pending": frozenset({"sending"}),
        "sending": frozenset({"sent", "failed", "pending", "ambiguous"}),
        "ambiguous": frozenset({"sent", "failed", "pending"}),
        "failed": frozenset({"pending"}),
    }
    NUDGED = frozenset({Status.AMBIGUOUS})
    FINAL = frozenset({Status.SENT, Status.FAILED})
    TIMES: ClassVar = {"ambiguous_at": frozenset({Status.AMBIGUOUS}), "sent_at": frozenset({Status.SENT})}
    BELL = "messages"

    public_id = models.UUIDField(
        unique=True, default=uuid.uuid4, editable=False, help_text="Travels with the mail and comes back in its events."
    )
    order_id = models.BigIntegerField()
    order_number = models.CharField(max_length=40)
    event_id = models.UUIDField(help_text="The event that this mail is about.")
    template = models.CharField(max_length=64)
    once = models.BooleanField(help_text="At most one of this template for its order, whatever happens.")
    rather_twice = models.BooleanField(help_text="When in doubt, this mail is sent again without asking a person.")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)

    recipient = models.EmailField(max_length=254)
    recipient_name = models.CharField(max_length=120, blank=True)
    subject = models.CharField(max_length=250)
    text = models.TextField()
    html = models.TextField()
    data = models.JSONField(default=dict, help_text="What the mail was written from; given to the provider's template.")

    provider_id = models.CharField(max_length=255, blank=True, help_text="The provider's X-Message-Id.")
    created_at = models.DateTimeField(db_default=Now())
    ambiguous_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta(Claimable.Meta):
        permissions: ClassVar = [("operate_message", "Can have mails sent again, looked up and unblocked")]
        constraints = [
            *Claimable.Meta.constraints,
            models.UniqueConstraint(fields=["event_id", "template", "recipient"], name="message_once_per_event"),
            models.UniqueConstraint(
                fields=["order_id", "template", "recipient"], condition=Q(once=True), name="message_once_per_order"
            ),
            models.CheckConstraint(
                condition=Q(status="sent", sent_at__isnull=False) | (~Q(status="sent") & Q(sent_at__isnull=True)),
                name="message_sent_has_its_time",
            ),
            models.CheckConstraint(
                condition=Q(status="ambiguous", ambiguous_at__isnull=False)
                | (~Q(status="ambiguous") & Q(ambiguous_at__isnull=True)),
                name="message_ambiguous_has_its_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="sending") | Q(token__isnull=False), name="message_sending_is_claimed"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["sent", "failed"], due_at__isnull=True, token__isnull=True)
                | (
                    Q(status__in=["pending", "sending", "ambiguous"])
                    & (Q(due_at__isnull=False) | ~Q(blocked_reason=""))
                ),
                name="message_waits_for_somebody_until_final",
            ),
        ]
        indexes = [
            *Claimable.Meta.indexes,
            models.Index(fields=["order_id", "id"], name="message_of_order"),
            models.Index(Lower("recipient"), name="message_by_recipient"),
            # All but the ordinary end, so that the rare ones are found at once.
            models.Index(fields=["status", "id"], name="message_not_sent", condition=~Q(status="sent")),
        ]

    def __str__(self) -> str:
        return f"{self.template} of {self.order_number}"


class MessageAttempt(models.Model):
    """The journal: a row before each call, closed once after it. A trigger refuses any other change.

    An attempt that was never closed belongs to a worker that died: whether its mail went out is in doubt.
    """

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted"  # 202: the provider has it
        REFUSED = "refused"  # a clean 4xx: this mail will never be taken
        NOT_SENT = "not_sent"  # no connection was made, or 429: certainly not sent, later it may be
        MISCONFIGURED = "misconfigured"  # 401, 403, 404, 405: our key or its address is wrong, not the mail; not sent
        AMBIGUOUS = "ambiguous"  # anything else: it may have been sent

    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="journal")
    worker = models.CharField(max_length=128)
    started_at = models.DateTimeField(db_default=Now())

    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    provider_id = models.CharField(max_length=255, blank=True)
    detail = models.TextField(blank=True, help_text="The provider's or the network's own words.")
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    claim_lost = models.BooleanField(default=False, help_text="Answered after its lease: kept as a fact only.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True, outcome="") | (Q(finished_at__isnull=False) & ~Q(outcome="")),
                name="mail_attempt_closed_with_outcome",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["message", "id"], name="mail_attempt_of_message")]

    def __str__(self) -> str:
        return f"attempt {self.pk} of message {self.message_id}"


class MailEvent(models.Model):
    """What the provider told us about a mail that it has accepted, kept once. No address and no free text: of a
    bounce the codes are enough."""

    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=32, help_text="processed, delivered, bounce, dropped …")
    happened_at = models.DateTimeField(help_text="By the provider's clock.")
    provider_id = models.CharField(max_length=255, blank=True, help_text="The provider's X-Message-Id.")
    code = models.CharField(max_length=16, blank=True, help_text="The mail server's status, such as 5.1.1.")
    cause = models.CharField(max_length=64, blank=True, help_text="The provider's word for it.")
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # The provider's own event id has been seen to change when it repeats an event.
            models.UniqueConstraint(fields=["message", "kind", "happened_at"], name="mail_event_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} of message {self.message_id}"
