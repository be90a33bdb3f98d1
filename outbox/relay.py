"""The relay moves staged records into the log and hands out their positions.

Identity values commit out of order, so `WHERE seq > cursor` would lose events. Positions are therefore given
after commit, by one relay at a time: it locks the head in one statement and reads in the next, whose
snapshot is younger than the lock. Dense positions let every reader prove that it missed nothing.
"""

from django.db import connection, transaction

from outbox import doorbell
from outbox.crash_points import crash_point
from outbox.models import LogHead

# Records per transaction. 500 keep one transaction at a few milliseconds, and larger ones gained nothing.
BATCH = 500

# The doorbell of everything that reads the log.
LOG = "log"

# The newest record that is staged: one look, where taking the head's lock would be a write to the disk ten times a
# second. Records that were moved while an old transaction stands open stay in table and index as dead rows; without the
# bound each look would walk over all of them.
_NEWEST = """
SELECT max(seq) FROM outbox_outboxrecord WHERE seq > (SELECT cleared_through FROM outbox_loghead)
"""

# A TID scan deletes the oldest records without an index look-up for each; RETURNING comes in heap order,
# so the numbers are given by row_number(). With both bounds the planner takes the index, without statistics too.
_MOVE = """
WITH moved AS (
    DELETE FROM outbox_outboxrecord
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox_outboxrecord WHERE seq > %(cleared)s AND seq <= %(newest)s ORDER BY seq LIMIT %(limit)s
    ))
    RETURNING seq, id, aggregatetype, aggregateid, type, version, payload, headers, created_at
), logged AS (
    INSERT INTO outbox_event
        (position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
    SELECT %(head)s + row_number() OVER (ORDER BY seq),
           id, aggregatetype, aggregateid, type, version, payload, headers, created_at
    FROM moved
)
SELECT count(*), coalesce(max(seq), 0), pg_current_xact_id()::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM moved
"""


def relay_once(*, limit: int = BATCH) -> int:
    """Move up to `limit` records in one transaction; return how many were moved.

    Raises RuntimeError inside another transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        (newest,) = cursor.fetchone()
    if newest is None:
        return 0
    with transaction.atomic(durable=True):  # whose id is younger than what was looked at
        head = LogHead.objects.select_for_update().get()
        crash_point("R1")
        with connection.cursor() as cursor:
            bounds = {"cleared": head.cleared_through, "newest": newest}
            cursor.execute(_MOVE, {"limit": limit, "head": head.position, **bounds})
            moved, last, own_id, oldest_id = cursor.fetchone()
        if moved:
            _clear(head, newest=newest, own_id=own_id, oldest_id=oldest_id, through=last if moved == limit else newest)
            head.position += moved
            head.save(update_fields=["position", "cleared_through", "clearing_through", "clearing_since"])
            transaction.on_commit(lambda: doorbell.ring(LOG))
            crash_point("R2")
    return int(moved)


def _clear(head: LogHead, *, newest: int, own_id: int, oldest_id: int, through: int) -> None:
    """Raise what is cleared, as far as that is sure. Everything up to `through` that was visible is moved.

    Whoever took a number up to `newest` had a transaction's id by then (a trigger sees to that), lower than our own.
    Once no such transaction is under way, everything up to there was visible to the batch that has just been moved.
    """
    if oldest_id >= head.clearing_since:
        head.cleared_through = max(head.cleared_through, min(through, head.clearing_through))
    if head.cleared_through >= head.clearing_through or own_id < head.clearing_since:
        head.clearing_through, head.clearing_since = newest, own_id
