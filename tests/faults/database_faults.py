"""What a PostgreSQL that lives may still refuse. Each is done inside the server, to the processes' role or database,
from the `with` to its end; nobody restarts anything afterwards."""

import contextlib
from collections.abc import Iterator

import psycopg

from tests.faults.crash_store import CrashStore

# What `could not extend file` says on a full disk; the statement's transaction is aborted, the session lives on.
_IS_FULL = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'"
_ANSWERS = "CREATE OR REPLACE FUNCTION faults_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; END $$"
_TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = 'faults_disk')"
)
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


@contextlib.contextmanager
def disk_full(store: CrashStore) -> Iterator[None]:
    """Nothing can be inserted anywhere (SQLSTATE 53100)."""
    with psycopg.connect(store.address(), autocommit=True) as session:
        session.execute(_ANSWERS.format("RETURN NULL").encode())
        for (table,) in session.execute(_TABLES.encode()).fetchall():  # one by one: no lock is held while another waits
            session.execute(
                f"CREATE TRIGGER faults_disk BEFORE INSERT ON {table} EXECUTE FUNCTION faults_disk()".encode()
            )
        session.execute(_ANSWERS.format(_IS_FULL).encode())
        try:
            yield
        finally:
            session.execute(_ANSWERS.format("RETURN NULL").encode())


@contextlib.contextmanager
def no_connection_left(store: CrashStore) -> Iterator[None]:
    """Sessions are ended, and no other is let in (SQLSTATE 53300)."""
    with psycopg.connect(store.address(), autocommit=True) as session:
        session.execute(f"ALTER ROLE {store.role} CONNECTION LIMIT 0".encode())
        session.execute(_END_SESSIONS.encode(), [store.role])
        try:
            yield
        finally:
            session.execute(f"ALTER ROLE {store.role} CONNECTION LIMIT -1".encode())


@contextlib.contextmanager
def read_only(store: CrashStore) -> Iterator[None]:
    """Nothing can be written (SQLSTATE 25006): what hosted databases do before their disk is full, and what the server
    of yesterday answers after a failover. Sessions of that time stay so."""
    with psycopg.connect(store.address(), autocommit=True) as session:
        session.execute(f"ALTER DATABASE {store.role} SET default_transaction_read_only = on".encode())
        session.execute(_END_SESSIONS.encode(), [store.role])
        try:
            yield
        finally:
            session.execute(f"ALTER DATABASE {store.role} RESET default_transaction_read_only".encode())
