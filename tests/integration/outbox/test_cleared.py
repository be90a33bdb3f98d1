"""What the relay knows to be cleared, and what it looks at, beside transactions that stand open."""

import threading

from django.db import connection, transaction

from outbox.models import LogHead
from outbox.publisher import publish
from outbox.relay import relay_once
from tests.integration.outbox.things import Stepped, dispatch_all, relay_all, seen, step, subscribed
from tests.local.waiting import wait_until
from tests.snapshots import counting_blocks, old_snapshot
from tests.threads import together


def test_what_commits_late_is_not_passed_over() -> None:
    """It took its number in the staging table before another that was committed, relayed and read in between."""
    staged, read = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            publish(Stepped(counter=1, step=1))
            staged.set()
            assert read.wait(timeout=30)

    def meanwhile() -> None:
        assert staged.wait(timeout=30)
        step(2)
        assert relay_all() == 1
        assert dispatch_all("reader") == 1
        read.set()

    with subscribed("reader"):
        together(late, meanwhile)
        assert relay_all() == 1
        assert dispatch_all("reader") == 1
        assert [(position, counter) for position, counter, _ in seen("reader")] == [(1, 2), (2, 1)]


def test_what_is_cleared_stays_below_a_transaction_that_is_under_way() -> None:
    """It took its number first and commits after many others were relayed, with a transaction's id of its own each."""
    staged, relayed = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            publish(Stepped(counter=1, step=1))
            staged.set()
            assert relayed.wait(timeout=30)

    def meanwhile() -> None:
        assert staged.wait(timeout=30)
        for _ in range(5):
            step(2)
            assert relay_once() == 1
        relayed.set()

    before = cleared()
    together(late, meanwhile)
    assert cleared() <= before + 1
    assert relay_once() == 1
    wait_until(lambda: one_more_is_cleared(beyond=before + 6))  # nobody of ours holds it back any more


def test_a_sequence_that_was_set_back_hides_nothing() -> None:
    """As after a move to another server by logical replication, which copies no sequence."""
    wait_until(lambda: one_more_is_cleared(beyond=2))
    last = last_number()
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('outbox_outboxrecord_seq_seq', 1)")
        try:
            step(1)
            assert relay_once() == 1
            assert cleared() <= 2
        finally:
            cursor.execute("SELECT setval('outbox_outboxrecord_seq_seq', %s)", [last])


def test_a_transaction_has_its_id_before_a_record_its_number() -> None:
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("INSERT INTO outbox_outboxrecord SELECT FROM outbox_event WHERE false")
        cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        assert cursor.fetchone() == (True,)


def test_the_relay_does_not_walk_over_what_an_old_snapshot_keeps() -> None:
    """Neither when it looks nor when it moves."""
    with old_snapshot():
        for _ in range(12):
            step(1, times=500)
            assert relay_once() == 500
        last = last_number()
        wait_until(lambda: one_more_is_cleared(beyond=last))
        step(1)
        with counting_blocks("outbox_outboxrecord") as count:
            assert relay_once() == 1
            assert relay_once() == 0
        # Without a bound it is each of 6,000, in more than two hundred blocks.
        assert count() < 60


def test_the_relay_does_not_walk_over_what_came_after_its_plans() -> None:
    """Made while the table was empty, and kept until somebody looks how large it has become."""
    relay_all()
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM outbox_outboxrecord")
    assert relay_once() == 0
    step(1, times=5000)
    with counting_blocks("outbox_outboxrecord") as count:
        assert relay_once(limit=1) == 1
    # The table has more than a hundred.
    assert count() < 40


def one_more_is_cleared(*, beyond: int) -> bool:
    """A transaction of any database on this server holds it back."""
    step(2)
    assert relay_once() == 1
    return cleared() >= beyond


def last_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM outbox_outboxrecord_seq_seq")
        return int(cursor.fetchone()[0])


def cleared() -> int:
    return LogHead.objects.get().cleared_through
