"""The claim: a call to the outside world is a row, and whoever holds its token may make the call.

Claim the row under a row lock, commit, call, and record the result by token in a second short transaction.
One column carries all timing: `due_at` is when the row may next be claimed. A claim moves it to the end of
the lease, so a row whose worker died becomes due again by itself, and one index serves both. The database's
clock alone decides.

A nudge says "look at this row again": it changes no state. While a call is under way it only raises
`nudges`; the result then sees that its claim saw fewer, and leaves the row due at once, so no wake-up is lost.
"""

import datetime as dt
import functools
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django.db import connection, models, transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Now

from outbox import context, doorbell, prepared
from outbox.horizon import Horizon


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
    TIMES maps a column to the statuses since which it says the time; in any other it is empty.
    BELL is the doorbell of the loop that claims these rows.
    """

    CLAIMED_STATUS: ClassVar[dict[str, str]] = {}
    NUDGED: ClassVar[frozenset[str]] = frozenset()
    FINAL: ClassVar[frozenset[str]] = frozenset()
    TIMES: ClassVar[Mapping[str, frozenset[str]]] = {}
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

    # Set by `claim()` on the rows it returns: the status before, whether an earlier claim of the row ran out without a
    # result, and until when the claim lasts at least (monotonic).
    claimed_from: str = ""
    was_stranded: bool = False
    held_until: float = 0.0

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


_DUE = """
SELECT id, due_at, status, token FROM {table}
WHERE due_at <= statement_timestamp(){since}{but}
"""
_SINCE = " AND due_at >= %(since)s::timestamptz"
# A plan for any statuses would expect hardly a row, and read and sort all that are due instead of walking their index.
_BUT = " AND status NOT IN ({statuses})"
# Rows are asked for by number, here and below: a plan for any number of them might read the whole table.
_CLAIM = """
WITH due AS MATERIALIZED (
    {due} ORDER BY due_at, id LIMIT %(limit)s::bigint FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {table} AS claimed SET
    token = %(token)s::uuid,
    claimed_by = %(worker)s,
    due_at = statement_timestamp() + make_interval(secs => %(lease)s::float),
    attempts = claimed.attempts + 1,
    status = coalesce(%(becomes)s::json ->> claimed.status, claimed.status)
FROM due
WHERE claimed.id = ANY (ARRAY(SELECT id FROM due)) AND claimed.id = due.id
RETURNING {columns}, due.due_at, due.status, due.token IS NOT NULL
"""
_COUNT = "SELECT count(*) FROM ({due} LIMIT %(limit)s::bigint) AS due"
_HELD = """
SELECT {columns} FROM {table} AS claimed WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
_LATER = """
CASE WHEN given.status = ANY (%(nudged)s::text[]) AND given.blocked_reason = '' AND stored.nudges > given.seen
    THEN statement_timestamp()
    ELSE coalesce(given.due_at, statement_timestamp() + make_interval(secs => given.due_in))
END
"""


@functools.cache
def _sql(statement: str, model: type[Claimable], but: frozenset[str] = frozenset(), since: str = "") -> bytes:
    table, columns = model._meta.db_table, prepared.columns(model, "claimed")
    statuses = ", ".join(f"'{status}'" for status in sorted(but))
    due = _DUE.format(table=table, since=since, but=_BUT.format(statuses=statuses) if but else "")
    return statement.format(table=table, due=due, columns=columns).encode()


def _look(
    statement: str, model: type[Claimable], but: Collection[str], since: dt.datetime | None, **asked: str
) -> list[tuple[Any, ...]]:
    """At what is due, from there; None: from the beginning."""
    if since is None:
        return prepared.run(_sql(statement, model, frozenset(but)), asked)
    return prepared.run(_sql(statement, model, frozenset(but), _SINCE), {**asked, "since": since.isoformat()})


def claim(
    model: type[RowT],
    *,
    limit: int,
    lease: dt.timedelta,
    worker: str,
    but: Collection[str] = (),
    horizon: Horizon | None = None,
) -> list[RowT]:
    """Claim up to `limit` due rows, oldest first, for `worker`; commit before calling anybody. Rows of these statuses
    (`but`) are left alone. Fewer than `limit` are claimed only where there are no more; with a `horizon`, one that
    became due behind it may be claimed after newer ones.

    The returned rows carry the new token, count of attempts and status, and the time at which they were due. Rows
    that another transaction has locked are skipped. Raises TransactionManagementError outside a transaction.
    """
    _expect_transaction()
    horizon = horizon or Horizon()
    claimed = {
        "token": str(uuid.uuid4()),  # one for all rows of this claim: a result is fenced by row and token
        "worker": worker,
        "lease": str(lease.total_seconds()),
        "becomes": prepared.as_json_object(model.CLAIMED_STATUS),
    }
    since, held_until = horizon.since(), time.monotonic() + lease.total_seconds()
    found = _look(_CLAIM, model, but, since, limit=str(limit), **claimed)
    if since is not None and len(found) < limit:
        since = None
        found += _look(_CLAIM, model, but, since, limit=str(limit - len(found)), **claimed)
    rows = prepared.instances(model, found)
    for row, (*_, was_due, before, had_token) in zip(rows, found, strict=True):
        row.due_at, row.claimed_from, row.was_stranded, row.held_until = was_due, before, had_token, held_until
    rows.sort(key=lambda row: (row.due_at, row.pk))
    horizon.looked(since, oldest=rows[0].due_at if 0 < limit == len(rows) else None)
    return rows


def due(model: type[Claimable], *, limit: int, but: Collection[str] = (), horizon: Horizon | None = None) -> int:
    """How many rows could be claimed now, counted up to `limit`."""
    since = horizon.since() if horizon else None
    ((count,),) = _look(_COUNT, model, but, since, limit=str(limit))
    if since is not None and count < limit:
        ((count,),) = _look(_COUNT, model, but, None, limit=str(limit))
    return int(count)


def held(model: type[RowT], rows: Iterable[RowT]) -> dict[int, RowT]:
    """Those of the claimed rows that are still held by their claim: fresh, locked, by primary key.

    The status may have changed under the claim (somebody asked for a cancellation): decide on the fresh one.
    Raises TransactionManagementError outside a transaction.
    """
    _expect_transaction()
    tokens = {row.pk: row.token for row in rows}
    found = prepared.instances(model, prepared.run(_sql(_HELD, model), {"ids": prepared.numbers(tokens)}))
    return {row.pk: row for row in found if row.token is not None and row.token == tokens[row.pk]}


def _expect_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("A row's lock lasts as long as its transaction: there is none.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a claim came to; `row` is a row of the claim or of `held()`.

    `seen` is the count of nudges when the row was claimed: if there were more since, it is due now, provided
    that a nudge makes a row of this `status` due at all. `due_in` is an interval from now or the time itself;
    None means not before something makes it due. `fields` are further columns.
    """

    row: Claimable
    status: str
    seen: int
    due_in: dt.timedelta | dt.datetime | None
    blocked_reason: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> prepared.Row:
        interval = self.due_in.total_seconds() if isinstance(self.due_in, dt.timedelta) else None
        return {
            **_fence(self.row),
            "status": self.status,
            "seen": self.seen,
            "due_at": None if interval is not None else self.due_in,
            "due_in": interval,
            "blocked_reason": self.blocked_reason,
            **self.fields,
        }


def finish(results: Sequence[Result]) -> None:
    """Write what claims came to, in one statement, and give their rows back. All are of one model, with the same
    `fields`.

    Raises ClaimLost unless exactly these claims still hold their rows; the others are written.
    """
    if not results:
        return
    model = type(results[0].row)
    statement = _finishing(model, tuple(results[0].fields))
    columns = (each.columns() for each in results)
    _write(statement, [each.row for each in results], columns, nudged=prepared.texts(sorted(model.NUDGED)))


def note(rows: Sequence[Claimable], *columns: str) -> None:
    """Write these columns of rows whose claim goes on. Raises ClaimLost as `finish` does."""
    if not rows or not columns:
        return
    noted = ({**_fence(row), **{name: getattr(row, name) for name in columns}} for row in rows)
    _write(_noting(type(rows[0]), columns), rows, noted)


def _fence(row: Claimable) -> prepared.Row:
    return {"id": row.pk, "token": row.token}


@functools.cache
def _finishing(model: type[Claimable], fields: tuple[str, ...]) -> bytes:
    since = {
        column: f"CASE WHEN given.status = ANY ('{{{','.join(sorted(statuses))}}}'::text[]) "
        f"THEN coalesce(stored.{column}, statement_timestamp()) END"
        for column, statuses in model.TIMES.items()
    }
    told = {name: f"given.{name}" for name in ("status", "blocked_reason", *fields)}
    assigned = {"token": "NULL", "claimed_by": "''", "due_at": _LATER, **told, **since}
    return _writing(model, assigned, ("due_at", *told), seen="bigint", due_in="double precision")


@functools.cache
def _noting(model: type[Claimable], columns: tuple[str, ...]) -> bytes:
    return _writing(model, {name: f"given.{name}" for name in columns}, columns)


def _writing(model: type[Claimable], assigned: Mapping[str, str], columns: Iterable[str], **more: str) -> bytes:
    change = prepared.change(model, assigned, ("token", *columns), **more)
    return f"""{change} AND stored.token = given.token
    RETURNING stored.id, stored.due_at <= statement_timestamp()""".encode()


def _write(statement: bytes, rows: Sequence[Claimable], columns: Iterable[prepared.Row], **more: str) -> None:
    """Raises ClaimLost for those rows that were not written."""
    written = prepared.run(statement, {**prepared.changes(columns), **more})
    pks = {pk for pk, _ in written}
    if lost := [row for row in rows if row.pk not in pks]:
        claims = ", ".join(f"{row.pk} of {row.claimed_by}" for row in lost)
        raise ClaimLost(f"{type(lost[0]).__name__}: these claims have ended: {claims}")
    if any(is_due for _, is_due in written):
        ring(type(rows[0]))


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
