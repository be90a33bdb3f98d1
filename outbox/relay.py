"""The relay moves staged records into the log and hands out their positions.

Identity values commit out of order, so `WHERE seq > cursor` would lose events. Positions are therefore given
after commit, by one relay at a time: it locks the head in one statement and reads in the next, whose
snapshot is younger than the lock. Dense positions let every reader prove that it missed nothing.
"""

from django.db import connection, transaction

from outbox import doorbell
from outbox.crash_points import crash_point
from outbox.models import LogHead, OutboxRecord

# Records per transaction. 500 keep one transaction at a few milliseconds, and larger ones gained nothing.
BATCH = 500

# The doorbell of everything that reads the log.
LOG = "log"

# A TID scan deletes the oldest records without an index look-up for each; RETURNING comes in heap order,
# so the numbers are given by row_number().
_MOVE = """
WITH moved AS (
    DELETE FROM outbox_outboxrecord
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox_outboxrecord ORDER BY seq LIMIT %(limit)s))
    RETURNING seq, id, aggregatetype, aggregateid, type, version, payload, headers, created_at
)
INSERT INTO outbox_event
    (position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
SELECT %(head)s + row_number() OVER (ORDER BY seq),
       id, aggregatetype, aggregateid, type, version, payload, headers, created_at
FROM moved
"""


def relay_once(*, limit: int = BATCH) -> int:
    """Move up to `limit` records in one transaction; return how many were moved."""
    if not OutboxRecord.objects.exists():
        return 0  # one look, where taking the head's lock would be a write to the disk ten times a second
    with transaction.atomic():
        head = LogHead.objects.select_for_update().get()
        crash_point("R1")
        with connection.cursor() as cursor:
            cursor.execute(_MOVE, {"limit": limit, "head": head.position})
            moved: int = cursor.rowcount
        if moved:
            LogHead.objects.update(position=head.position + moved)
            transaction.on_commit(lambda: doorbell.ring(LOG))
            crash_point("R2")
    return moved
