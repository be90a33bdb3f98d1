"""The relay moves staged records into the log and hands out their positions.

Identity values commit out of order, so `WHERE seq > cursor` would lose events. Positions are therefore given
after commit, by one relay at a time: it locks the head in one statement and reads in the next, whose
snapshot is younger than the lock. Dense positions let every reader prove that it missed nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from django.db import transaction

from outbox import doorbell, prepared, registry
from outbox.crash_points import crash_point

# Records per transaction. 500 keep one transaction at a few milliseconds, and larger ones gained nothing.
BATCH = 500

# The doorbell of whoever reads everything; `log.<name>` is that of one reader, who is woken for its own types only:
# its cursor may come after by polling.
LOG = "log"

# The newest record that is staged: one look, where taking the head's lock would be a write to the disk at each.
_NEWEST = b"SELECT outbox_newest_staged()"

# The commit does not wait for the disk: whoever acts on what was moved commits later and waits for both, and if the
# server falls over before, the records are staged as they were (decision 17). How much is staged changes faster than
# statistics: look and batch have one plan each, which uses the index whatever the planner believes.
_LOCK = b"""
SELECT position, cleared_through, clearing_through, clearing_since,
       (SELECT last_value FROM outbox_outboxrecord_seq_seq),
       set_config('synchronous_commit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
FROM outbox_loghead FOR UPDATE
"""

_SAVE = b"""
UPDATE outbox_loghead SET position = %(position)s::bigint, cleared_through = %(cleared_through)s::bigint,
    clearing_through = %(clearing_through)s::bigint, clearing_since = %(clearing_since)s::bigint
"""

# Records that were moved while an old transaction stands open stay as dead rows: without the bound, each batch would
# walk over all of them. A TID scan deletes the oldest records without an index look-up for each; RETURNING comes in
# heap order, so the numbers are given by row_number().
_MOVE = b"""
WITH moved AS (
    DELETE FROM outbox_outboxrecord
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox_outboxrecord WHERE seq > %(cleared)s::bigint AND seq <= %(newest)s::bigint
        ORDER BY seq LIMIT %(limit)s::int
    ))
    RETURNING seq, id, aggregatetype, aggregateid, type, version, payload, headers, created_at
), logged AS (
    INSERT INTO outbox_event
        (position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
    SELECT %(head)s::bigint + row_number() OVER (ORDER BY seq),
           id, aggregatetype, aggregateid, type, version, payload, headers, created_at
    FROM moved
)
SELECT count(*), coalesce(max(seq), 0), array_agg(DISTINCT type), pg_current_xact_id()::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM moved
"""


@dataclass(slots=True)
class _Head:
    """The columns of `LogHead` that are the relay's."""

    position: int
    cleared_through: int
    clearing_through: int
    clearing_since: int

    @classmethod
    def locked(cls) -> Self:
        ((*columns, last_value, _, _, _, _),) = prepared.run(_LOCK, {})
        head = cls(*columns)
        if last_value < head.clearing_through:
            # Somebody has set the sequence back, as after a move by logical replication, which copies none.
            head.cleared_through = head.clearing_through = head.clearing_since = 0
        return head

    def clear(self, *, newest: int, own_id: int, oldest_id: int, through: int) -> None:
        """Raise what is cleared, as far as that is sure. Everything up to `through` that was visible is moved.

        Whoever took a number up to `newest` had a transaction's id by then (a trigger sees to that), lower than our
        own. Once no such transaction is under way, everything up to there was visible to the batch that was moved.
        """
        if oldest_id >= self.clearing_since:
            self.cleared_through = max(self.cleared_through, min(through, self.clearing_through))
        if self.cleared_through >= self.clearing_through or own_id < self.clearing_since:
            self.clearing_through, self.clearing_since = newest, own_id


def relay_once(*, limit: int = BATCH) -> int:
    """Move up to `limit` records in one transaction; return how many were moved.

    Raises RuntimeError inside another transaction.
    """
    ((newest,),) = prepared.run(_NEWEST, {})
    if newest is None:
        return 0
    with transaction.atomic(durable=True):  # whose id is younger than what was looked at
        head = _Head.locked()
        crash_point("R1")
        bounds = {"head": head.position, "cleared": head.cleared_through, "newest": newest, "limit": limit}
        ((moved, last, types, own_id, oldest_id),) = prepared.run(_MOVE, _texts(bounds))
        if moved:
            head.clear(newest=newest, own_id=own_id, oldest_id=oldest_id, through=last if moved == limit else newest)
            head.position += moved
            prepared.run(_SAVE, _texts(asdict(head)))
            transaction.on_commit(lambda: doorbell.ring(LOG, *_readers(types)))
            crash_point("R2")
    return int(moved)


def bell(subscription: str) -> str:
    """The doorbell of one reader."""
    return f"{LOG}.{subscription}"


def _texts(numbers: Mapping[str, int]) -> dict[str, str]:
    return {name: str(number) for name, number in numbers.items()}


def _readers(types: Collection[str]) -> list[str]:
    return [bell(each.name) for each in registry.subscribers() if not each.types.isdisjoint(types)]
