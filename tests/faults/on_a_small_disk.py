"""The store on a PostgreSQL whose disk is small and fills up: run by test_disk_full.py, which makes that disk."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from shop.local.postgres import EmbeddedPostgres
from shop.simulation.pages import Form
from tests.faults.crash_store import PATIENCE, CrashStore
from tests.faults.scenarios import Visit, cancelled_paid
from tests.faults.striking import check_promises

pytestmark = pytest.mark.timeout(200)
DISK = Path(os.environ["SMALL_DISK"])
# Orders, of which each leaves two dozen rows: more than fit into the pages that are there already.
SHOPPERS = 24
# Of write-ahead log, in bytes: more than in all the segments that are there already.
MUCH = 200 * 1024 * 1024


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(DISK / "postgresql")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def store(
    postgres: EmbeddedPostgres, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrashStore]:
    with django_db_blocker.unblock(), CrashStore(tmp_path_factory.mktemp("crashes"), postgres=postgres) as started:
        yield started


@dataclass
class Shopper:
    """With the checkout filled, and how often the store could not take it."""

    visit: Visit
    form: Form
    data: dict[str, str]
    refusals: int = 0

    def order(self) -> None:
        """Send it once: an order, or an honest page."""
        answer = self.visit.post(self.form, self.data)
        if answer.is_redirect:
            self.visit.paths[self.visit.sent(self.form, self.data)] = "shipped"
            return
        self.refusals += 1
        assert (answer.status_code, "We will be right back" in answer.text) == (503, True), answer.text[:2000]
        assert int(answer.headers["Retry-After"]) > 0


@contextlib.contextmanager
def shoppers(store: CrashStore, number: int) -> Iterator[list[Shopper]]:
    with contextlib.ExitStack() as browsers:
        found = []
        for _ in range(number):
            visit = Visit(store, struck=threading.Event())
            browsers.enter_context(visit.browsing())
            found.append(Shopper(visit, *visit.fill()))
        yield found


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Every byte that is left is taken."""
    ballast = DISK / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - nothing else ends it
    try:
        yield
    finally:
        ballast.unlink()


def write_much(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as session:
        for _ in range(MUCH // 1024**2):
            session.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1024 * 1024))")


def answers(postgres: EmbeddedPostgres) -> bool:
    """Whether it does; started, where it has ended. One without room for its log ends some time after it fell."""
    if not postgres.is_running:
        postgres.start()
    try:
        psycopg.connect(postgres.url).close()
    except psycopg.OperationalError:
        return False
    return True


def everything_is_in_order(store: CrashStore, everybody: list[Shopper]) -> None:
    """Those who were sent away come again; then everything goes its way."""
    for each in everybody:
        place = each.visit.sent(each.form, each.data)
        each.visit.paths[place] = "shipped"
        assert len(each.visit.paths) == 1, "one checkout became two orders"
    last = Visit(store, struck=threading.Event())
    last.round(cancelled_paid)
    store.wait_quiet(seconds=PATIENCE)
    assert store.violations() == []
    for visit in [last, *(each.visit for each in everybody)]:
        check_promises(store, visit)
    assert store.logged("Internal Server Error") == []
    assert store.logged("action=unrecordable") == []


def test_tables_that_cannot_grow(store: CrashStore, postgres: EmbeddedPostgres) -> None:
    """PostgreSQL answers with errors, and lives."""
    worker = store.worker_pid
    with shoppers(store, SHOPPERS) as everybody:
        with psycopg.connect(postgres.url, autocommit=True) as session:
            session.execute("CHECKPOINT")
            session.execute("SELECT pg_switch_wal()")  # the log itself has room
        with full_disk():
            for each in everybody:
                each.order()
            assert any(each.refusals for each in everybody)
            assert store.logged("No space left on device")
        everything_is_in_order(store, everybody)
    assert "PANIC" not in postgres.log.read_text()
    assert store.worker_pid == worker


def test_a_log_that_cannot_grow(store: CrashStore, postgres: EmbeddedPostgres) -> None:
    """PostgreSQL cannot go on. A person makes room, and starts it where it did not start by itself."""
    worker = store.worker_pid
    with shoppers(store, 2) as everybody:
        with full_disk():
            with pytest.raises(psycopg.OperationalError, match=r"closed the connection|No space left"):
                write_much(postgres)
            for each in everybody:
                each.order()
        store.wait_until(lambda: answers(postgres), "PostgreSQL answers")
        everything_is_in_order(store, everybody)
    assert store.worker_pid == worker
