"""What PostgreSQL looked at: blocks and scans, unlike times, do not depend on the machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.db import connection, connections

from outbox import prepared


@contextmanager
def old_snapshot() -> Iterator[None]:
    """A transaction that reads stands open, as a dump's does: no row that was there at its beginning can be cleared
    away in this block."""
    other = connections.create_connection("default")
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        yield
    finally:
        other.close()


@contextmanager
def counting_blocks(table: str) -> Iterator[Callable[[], int]]:
    """How many blocks of that table and its indexes were looked at."""
    prepared.plan_anew()  # the connection's plans are those of the tests before
    before = _looked_at(table)
    yield lambda: _looked_at(table) - before


@contextmanager
def counting_scans(*names: str) -> Iterator[Callable[[], dict[str, int]]]:
    """How often this transaction has scanned these indexes, and these tables from end to end."""
    prepared.plan_anew()  # the connection's plans are those of the tests before
    before = _scans(names)
    yield lambda: {name: scans - before[name] for name, scans in _scans(names).items()}


def _scans(names: Sequence[str]) -> dict[str, int]:
    query = "SELECT name, pg_stat_get_xact_numscans(name::regclass) FROM unnest(%s::text[]) AS name"
    with connection.cursor() as cursor:
        cursor.execute(query, [list(names)])
        return dict(cursor.fetchall())


def _looked_at(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables"
            " WHERE relname = %s",
            [table],
        )
        return int(cursor.fetchone()[0])
