"""The whole store as `manage.py demo` runs it, and a browser in front of it.

It has a database of its own on the test run's server: its processes work on while a test looks, so nothing may
empty their tables. Tests read it by SQL; the ORM and Playwright do not go together in one thread.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, Page

from shop.local.ports import first_free
from shop.local.store import LocalStore
from tests.e2e.faults import Faults
from tests.template import create_database

PROJECT = Path(__file__).parents[2]
# Ports from here on, a hundred for each worker of the test run, far from those a person would choose.
FIRST_PORT = 21000


@pytest.fixture(scope="session")
def store(worker_id: str) -> Iterator[LocalStore]:
    """A running store with the seeded catalogue, whose warehouse sleeps: what is paid stays so."""
    server = urlsplit(os.environ["DATABASE_URL"])
    name = f"store_e2e_{os.getpid()}"
    port = first_free(start=FIRST_PORT + 100 * int(worker_id.removeprefix("gw").removeprefix("master") or 0))
    with (
        psycopg.connect(server.geturl(), autocommit=True) as session,
        tempfile.TemporaryDirectory(prefix="store-e2e-") as folder,
    ):
        create_database(session, name)
        try:
            with LocalStore(
                project=PROJECT,
                data=Path(folder),
                port=port,
                sandbox_port=first_free(start=port + 1),
                database_url=server._replace(path=f"/{name}").geturl(),
                report=print,
                picking=0,
                short=0,
            ) as running:
                _signal_warehouse(running, signal.SIGSTOP)
                yield running
                _signal_warehouse(running, signal.SIGCONT)
        finally:
            session.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def awake_warehouse(store: LocalStore) -> Iterator[Callable[[], None]]:
    """Call it to let the warehouse work until the test's end."""
    yield lambda: _signal_warehouse(store, signal.SIGCONT)
    _signal_warehouse(store, signal.SIGSTOP)


def _signal_warehouse(store: LocalStore, number: signal.Signals) -> None:
    pid = store.pid("warehouse")
    assert pid is not None
    os.kill(pid, number)


@pytest.fixture
def faults(store: LocalStore) -> Iterator[Faults]:
    """None at first, and none after the test."""
    faults = Faults(store.sandbox_address)
    yield faults
    faults.clear()


@pytest.fixture
def nojs(browser: Browser) -> Iterator[Page]:
    """A browser without scripts."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()
