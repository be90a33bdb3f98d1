"""The claim: a call to the outside world is a row, and whoever holds its token may make the call.

Claim the row under a row lock, commit, call, and record the result by token in a second short transaction.
One column carries all timing: `due_at` is when the row may next be claimed. A claim moves it to the end of
the lease, so a row whose worker died becomes due again by itself, and one index serves both. The database's
clock alone decides.

A nudge says "look at this row again": it changes no state. While a call is under way it only raises
`nudges`; the result then sees that its claim saw fewer, and leaves the row due at once, so no wake-up is lost.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from django.db import models, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from outbox import context, doorbell


class ClaimLost(Exception):
    """The row's lease ran out and somebody else has it, or has finished it: this result may not be written.

    The fact itself (the journal's row) is kept all the same.
    """


def _headers() -> dict[str, str]:
    return context.current().headers()


class Claimable(models.Model):
    """Columns of a claimed row; a concrete model narrows `status` and says how its statuses behave.

    CLAIMED_STATUS maps a status to the one it takes when claimed; a status that is not in it stays.
    NUDGED are the statuses that a nudge makes due; in any other it is only counted.
    FINAL are the statuses that are never claimed again.
    BELL is the doorbell of the loop that claims these rows.
    """

    CLAIMED_STATUS: ClassVar[dict[str, str]] = {}
    NUDGED: ClassVar[frozenset[str]] = frozenset()
    FINAL: ClassVar[frozenset[str]] = frozenset()
    BELL: ClassVar[str] = ""

    status = models.CharField(max_length=16)
    due_at = models.DateTimeField(
        null=True, blank=True, help_text="Next claim; the lease's end while claimed; empty: never."
    )
    token = models.UUIDField(null=True, blank=True, editable=False)
    claimed_by = models.CharField(max_length=128, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Claims, counted when they are made.")
    nudges = models.PositiveIntegerField(default=0)
    blocked_reason = models.TextField(
        blank=True, help_text="Why a person has to look before the row may be claimed again."
    )
    headers = models.JSONField(default=_headers, help_text="Correlation, causation, trace and actor.")

    # Set by `claim()` on the rows it returns: the status before, and whether an earlier claim of the row
    # ran out without a result.
    claimed_from: str = ""
    was_stranded: bool = False

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(token__isnull=True, claimed_by="")
                | (Q(token__isnull=False, due_at__isnull=False) & ~Q(claimed_by="")),
                name="%(class)s_claim_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(blocked_reason="") | Q(due_at__isnull=True), name="%(class)s_blocked_is_not_due"
            ),
        ]
        indexes = [models.Index(fields=["due_at", "id"], name="%(class)s_due", condition=Q(due_at__isnull=False))]

    @property
    def context(self) -> context.Context:
        """The story this row belongs to; publish its results with it."""
        return context.Context.from_headers(self.headers)


RowT = TypeVar("RowT", bound=Claimable)


def ring(model: type[Claimable]) -> None:
    """Wake the loop that claims these rows, once this transaction has committed."""
    transaction.on_commit(lambda: doorbell.ring(model.BELL))


def claim(model: type[RowT], *, limit: int, lease: dt.timedelta, worker: str, only: Q | None = None) -> list[RowT]:
    """Claim up to `limit` due rows, oldest first, for `worker`; commit before calling anybody. `only` narrows which.

    The returned rows carry the new token, count of attempts and status, and the time at which they were due. Rows
    that another transaction has locked are skipped. Raises TransactionManagementError outside a transaction.
    """
    rows = list(
        model._default_manager.select_for_update(skip_locked=True, of=("self",), no_key=True)
        .filter(only or Q(), due_at__lte=Now())
        .order_by("due_at", "id")[:limit]
    )
    if not rows:
        return []
    token = uuid.uuid4()  # one for all rows of this claim: a result is fenced by row and token
    becomes = [When(status=before, then=Value(after)) for before, after in model.CLAIMED_STATUS.items()]
    model._default_manager.filter(pk__in=[row.pk for row in rows]).update(
        token=token,
        claimed_by=worker,
        due_at=Now() + lease,
        attempts=F("attempts") + 1,
        status=Case(*becomes, default=F("status")),
    )
    for row in rows:
        row.was_stranded, row.claimed_from = row.token is not None, row.status
        row.token, row.claimed_by = token, worker
        row.attempts += 1
        row.status = model.CLAIMED_STATUS.get(row.status, row.status)
    return rows


def due(model: type[Claimable], *, limit: int, only: Q | None = None) -> int:
    """How many rows could be claimed now, counted up to `limit`."""
    return model._default_manager.filter(only or Q(), due_at__lte=Now()).order_by()[:limit].count()


def held(model: type[RowT], rows: Iterable[RowT]) -> dict[int, RowT]:
    """Those of the claimed rows that are still held by their claim: fresh, locked, by primary key.

    The status may have changed under the claim (somebody asked for a cancellation): decide on the fresh one.
    """
    tokens = {row.pk: row.token for row in rows}
    found = model._default_manager.select_for_update(of=("self",), no_key=True).filter(pk__in=tokens).order_by("pk")
    return {row.pk: row for row in found if row.token is not None and row.token == tokens[row.pk]}


def finish(row: Claimable, *, status: str, seen: int, due_in: dt.timedelta | dt.datetime | None, **fields: Any) -> None:
    """Write a claim's result and give the row back; `row` is a row of the claim or of `held()`.

    `seen` is the count of nudges when the row was claimed: if there were more since, it is due now, provided
    that a nudge makes a row of this `status` due at all. `due_in` is an interval from now or the time itself;
    None means not before something makes it due.
    Raises ClaimLost unless exactly this claim still holds the row.
    """
    model = type(row)
    later: Any = Now() + due_in if isinstance(due_in, dt.timedelta) else due_in
    if status in model.NUDGED and not fields.get("blocked_reason"):
        later = Case(When(nudges__gt=seen, then=Now()), default=later, output_field=models.DateTimeField())
    written = model._default_manager.filter(pk=row.pk, token=row.token).update(
        status=status, token=None, claimed_by="", due_at=later, **fields
    )
    if written != 1:
        raise ClaimLost(f"{model.__name__} {row.pk}: the claim of {row.claimed_by} has ended")


def nudge(rows: models.QuerySet[RowT]) -> int:
    """Ask for another look at these rows; returns how many there were. Never changes a status.

    A row that is being worked on stays with its worker and becomes due when the result is written.
    """
    model = rows.model
    ready = Q(token__isnull=True, blocked_reason="", status__in=model.NUDGED)
    counted = rows.update(nudges=F("nudges") + 1, due_at=Case(When(ready, then=Now()), default=F("due_at")))
    if counted:
        ring(model)
    return counted


def hurry(rows: models.QuerySet[RowT]) -> int:
    """Make the next try due now, of those that have one to come and that nobody works on; returns how many."""
    hurried = rows.filter(token__isnull=True, due_at__isnull=False, blocked_reason="").update(due_at=Now())
    if hurried:
        ring(rows.model)
    return hurried


def unblock(rows: models.QuerySet[RowT]) -> int:
    """Let blocked rows be claimed again, at once; returns how many there were."""
    freed = rows.exclude(blocked_reason="").update(blocked_reason="", due_at=Now())
    if freed:
        ring(rows.model)
    return freed
