"""Tables of the log. Nothing here knows a domain."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Envelope(models.Model):
    """What an event carries everywhere; the names are those of Debezium's outbox event router.

    `aggregateid` is the order's id for every event about it, whichever app published it.
    """

    id = models.UUIDField(default=uuid.uuid4, editable=False)
    aggregatetype = models.CharField(max_length=32)
    aggregateid = models.CharField(max_length=64)
    type = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    payload = models.JSONField()
    headers = models.JSONField(default=dict)

    class Meta:
        abstract = True


class OutboxRecord(Envelope):
    """Staging: written only by `publish()` with the fact itself, taken away by the relay."""

    seq = models.BigAutoField(primary_key=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        # An order's page looks for what is not in the log yet, also while much waits.
        indexes = [models.Index(fields=["aggregateid"], name="outboxrecord_stream")]

    def __str__(self) -> str:
        return f"{self.type} {self.aggregateid} (staged {self.seq})"


class LogHead(models.Model):
    """One row: the last position handed out, and the last one that was purged.

    Locking it makes a process the one relay of the moment. The other three are numbers of the staging table, and the
    relay's own: up to `cleared_through` no record is there, and none will come; up to `clearing_through` none will come
    once all transactions before that with the id `clearing_since` have ended.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    position = models.BigIntegerField(default=0)
    purged_through = models.BigIntegerField(default=0)
    cleared_through = models.BigIntegerField(default=0)
    clearing_through = models.BigIntegerField(default=0)
    clearing_since = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="loghead_single_row"),
            models.CheckConstraint(
                condition=models.Q(purged_through__lte=models.F("position")), name="loghead_purged_below_head"
            ),
        ]

    def __str__(self) -> str:
        return f"head at {self.position}"


class Event(Envelope):
    """The log: append-only (a trigger refuses UPDATE and DELETE), positions dense from 1."""

    position = models.BigIntegerField(primary_key=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["aggregateid", "position"], name="event_stream")]

    def __str__(self) -> str:
        return f"{self.position} {self.type} {self.aggregateid}"


class Subscription(models.Model):
    """A reader's cursor: everything up to `position` is handled or parked."""

    name = models.CharField(max_length=64, primary_key=True)
    position = models.BigIntegerField(default=0)
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        permissions: ClassVar = [("operate_subscription", "Can pause, resume and replay readers of the log")]

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


class FeedToken(models.Model):
    """Who may read one feed and use what belongs to it; several readers' tokens may be live at once.

    The token's secret is 256 random bits, so its plain SHA-256 is enough: there is nothing to guess.
    """

    name = models.CharField(max_length=100, help_text="Whose it is; shown beside what its bearer did.")
    feed = models.CharField(max_length=64, help_text="Its one scope.")
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True, help_text="To the minute.")

    class Meta:
        permissions: ClassVar = [("manage_feed_tokens", "Can make and revoke feed tokens")]
        constraints = [
            models.UniqueConstraint(
                fields=["feed", "name"], condition=models.Q(revoked_at__isnull=True), name="feed_token_live_name"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} for {self.feed}"


class ParkedEvent(Envelope):
    """An event that a subscription could not handle, or that waits behind such a one of its stream.

    It holds its own copy of the envelope, so the log may be purged. Only the lowest position of a stream is
    ever tried: `due_at` says when; the others, and those that wait for a person, have none.
    """

    class Status(models.TextChoices):
        RETRYING = "retrying"  # tried again at due_at → gone, or waiting after the last try
        QUEUED = "queued"  # behind another of its stream → retrying, when it becomes the lowest
        WAITING = "waiting"  # out of tries; a person retries or skips it

    number = models.BigAutoField(primary_key=True)  # `id` is the event's
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="parked")
    position = models.BigIntegerField()
    created_at = models.DateTimeField()
    status = models.CharField(max_length=8, choices=Status)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    parked_at = models.DateTimeField(db_default=Now())

    class Meta:
        permissions: ClassVar = [("repair_event", "Can retry and skip parked events")]
        constraints = [
            models.UniqueConstraint(fields=["subscription", "position"], name="parked_once"),
            models.CheckConstraint(
                condition=models.Q(status="retrying", due_at__isnull=False)
                | models.Q(status__in=["queued", "waiting"], due_at__isnull=True),
                name="parked_due_only_while_retrying",
            ),
        ]
        indexes = [
            models.Index(fields=["subscription", "aggregateid", "position"], name="parked_stream"),
            models.Index(fields=["subscription", "due_at"], name="parked_due", condition=models.Q(status="retrying")),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id}: {self.type} at {self.position} ({self.status})"


class Decision(models.Model):
    """What somebody decided by hand, and why: an operator at the admin or a command, a shopper who cancels. Rows are
    only ever added (a trigger refuses anything else), each in the transaction of its effect.

    `token` is the one use of the form it came from: sent again, it is the same decision. `before` and `after` say
    how the subject stood, in few words.
    """

    token = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=64, help_text="The kind of row, such as payments.payment.")
    subject_id = models.CharField(max_length=64)
    aggregateid = models.CharField(max_length=64, blank=True, help_text="The order whose story it belongs to.")
    actor = models.CharField(max_length=150)
    reason = models.TextField(blank=True)
    before = models.CharField(max_length=200, blank=True)
    after = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=~models.Q(actor=""), name="decision_has_an_actor")]
        indexes = [
            models.Index(fields=["aggregateid", "id"], name="decision_of_story", condition=~models.Q(aggregateid="")),
            models.Index(fields=["subject", "subject_id", "id"], name="decision_about"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.subject_id} by {self.actor}"


class AuditRun(models.Model):
    """What a scheduled check of the books has found (`outbox.audit`)."""

    finished_at = models.DateTimeField(db_default=Now())
    checks = models.PositiveIntegerField()
    differences = models.PositiveIntegerField()
    unreadable = models.PositiveIntegerField(help_text="Sources that did not answer: nothing is known of them.")
    seconds = models.FloatField()
    detail = models.TextField(blank=True, help_text="The first differences; `check_money` shows all.")

    def __str__(self) -> str:
        return f"{self.differences} differences at {self.finished_at}"


class Heartbeat(models.Model):
    """One row for each loop of each process: who is alive, and since when."""

    loop = models.CharField(max_length=64)
    process = models.CharField(max_length=128)
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())
    handled = models.BigIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["loop", "process"], name="heartbeat_once")]

    def __str__(self) -> str:
        return f"{self.loop} in {self.process}"
