"""The proxy does to real connections what it says: to PostgreSQL, and to a plain server."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.faults.proxy import Commit, Proxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with Proxy(("127.0.0.1", server.server_address[1])) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


@pytest.fixture
def postgres(db: None) -> Iterator[Proxy]:
    known = connection.settings_dict
    host, port = known["HOST"], int(known["PORT"] or 5432)
    target = Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port)
    with Proxy(target, speaks_postgres=True) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def said(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    heard = b""
    while len(heard) < len(text) and (data := client.recv(4096)):
        heard += data
    return heard


def session(proxy: Proxy, **options: str) -> "psycopg.Connection[tuple[object, ...]]":
    known = connection.settings_dict
    return psycopg.connect(
        host="127.0.0.1",
        port=proxy.port,
        dbname=known["NAME"],
        user=known["USER"],
        password=known["PASSWORD"] or None,
        **options,  # type: ignore[arg-type]  # libpq's own
    )


def test_it_forwards(echo: Proxy) -> None:
    with connect(echo) as client:
        assert said(client, b"hello" * 50_000) == b"hello" * 50_000


def test_a_cut_ends_the_connection_in_order(echo: Proxy) -> None:
    with connect(echo) as client:
        said(client, b"hello")
        echo.cut()
        assert client.recv(10) == b""


def test_a_reset_breaks_it_off(echo: Proxy) -> None:
    with connect(echo) as client:
        said(client, b"hello")
        echo.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_frozen_connection_says_nothing_to_either_end_and_new_ones_go_through(echo: Proxy) -> None:
    with connect(echo) as frozen, connect(echo) as client:
        said(frozen, b"hello")
        echo.freeze()
        client.close()
        frozen.sendall(b"anybody?")
        frozen.settimeout(0.3)
        with pytest.raises(TimeoutError):
            frozen.recv(10)
        with connect(echo) as new:
            assert said(new, b"hello") == b"hello"
        echo.thaw()
        assert frozen.recv(10) == b""


def test_delay_and_drip(echo: Proxy) -> None:
    echo.delay = 0.2
    with connect(echo) as client:
        begun = time.monotonic()
        said(client, b"hello")
        assert time.monotonic() - begun >= 0.4  # there and back
        echo.delay, echo.drip_bytes, echo.drip_pause = 0.0, 1, 0.1
        client.sendall(b"hello")
        assert client.recv(10) == b"h"


@pytest.mark.parametrize("encryption", ["disable", "prefer"])
def test_a_lost_commit_is_done_and_never_acknowledged(postgres: Proxy, encryption: str) -> None:
    with session(postgres, sslmode=encryption) as other, session(postgres, sslmode=encryption) as losing:
        other.execute("CREATE TEMPORARY TABLE mine (x int)")
        losing.execute("CREATE TABLE IF NOT EXISTS faults_kept (x int)")
        losing.commit()
        losing.execute("INSERT INTO faults_kept VALUES (7)")
        postgres.lose_commit(backend=losing.info.backend_pid)
        other.commit()  # another session's: not the one that was asked for
        with pytest.raises(psycopg.OperationalError):
            losing.commit()
        assert postgres.lost_commits.acquire(timeout=5)
        row = other.execute("SELECT x FROM faults_kept").fetchone()
        other.execute("DROP TABLE faults_kept")
        assert row == (7,)


def test_a_commit_sent_as_an_extended_query_is_lost_too(postgres: Proxy) -> None:
    with session(postgres, sslmode="disable") as losing:
        losing.autocommit = True
        losing.execute("CREATE TEMPORARY TABLE mine (x int)")
        postgres.lose_commit()
        losing.execute("BEGIN")
        losing.execute("INSERT INTO mine VALUES (%s)", [7])
        with pytest.raises(psycopg.OperationalError):
            losing.execute("COMMIT", prepare=True)
        assert postgres.lost_commits.acquire(timeout=5)


def test_a_statement_is_known_again_that_was_prepared_before(postgres: Proxy) -> None:
    """Also one that changes rows on the way to what it selects."""
    seen: list[Commit] = []

    def is_lost(commit: Commit) -> bool:
        seen.append(commit)
        return False

    write, read = "INSERT INTO mine VALUES (%s)", "SELECT x FROM mine FOR UPDATE"
    both = "WITH gone AS (DELETE FROM mine RETURNING x) SELECT x FROM gone"
    with session(postgres, sslmode="disable") as losing:
        losing.autocommit = True
        losing.execute("CREATE TEMPORARY TABLE mine (x int)")
        postgres.lose_commits(is_lost)
        for number in range(2):
            for statement, given in ((write, [number]), (read, None), (both, None)):
                losing.execute(statement, given, prepare=True)
    assert [commit.kind for commit in seen] == [("INSERT INTO mine",), ("DELETE FROM mine",)] * 2


def test_commits_are_chosen_by_what_they_have_changed(postgres: Proxy) -> None:
    """Not those of a transaction that only reads, changes no row or is rolled back, but a single statement's."""
    seen: list[Commit] = []

    def is_lost(commit: Commit) -> bool:
        seen.append(commit)
        return commit.kind == ("UPDATE mine",)

    with session(postgres, sslmode="disable") as losing:
        backend = losing.info.backend_pid
        losing.execute("CREATE TEMPORARY TABLE mine (x int PRIMARY KEY, y int)")
        losing.commit()
        postgres.lose_commits(is_lost)
        losing.execute("SELECT x FROM mine FOR UPDATE")
        losing.execute("DELETE FROM mine")
        losing.commit()
        losing.execute("INSERT INTO mine VALUES (1)")
        losing.rollback()
        losing.execute("INSERT INTO mine VALUES (2) ON CONFLICT (x) DO UPDATE SET y = 0")
        losing.execute("UPDATE mine SET y = 1")
        losing.commit()
        losing.autocommit = True
        with pytest.raises(psycopg.OperationalError):
            losing.execute("UPDATE mine SET y = 2")
    kinds = [commit.kind for commit in seen]
    assert kinds == [("INSERT INTO mine", "UPDATE mine"), ("UPDATE mine",)]
    assert {commit.backend for commit in seen} == {backend}


def test_postgres_keeps_the_locks_of_a_vanished_host_until_its_time_out(postgres: Proxy) -> None:
    vanished = session(postgres, options="-c idle_in_transaction_session_timeout=1s")
    vanished.execute("SELECT pg_advisory_xact_lock(4711)")
    postgres.freeze()
    vanished.close()
    with session(postgres) as waiting:
        row = waiting.execute("SELECT pg_try_advisory_xact_lock(4711)").fetchone()
        assert row == (False,)
        waiting.execute("SET lock_timeout = '20s'")
        waiting.execute("SELECT pg_advisory_xact_lock(4711)")
