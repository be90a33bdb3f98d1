"""The database of the explorer: a clock that only moves when it is told to, a known state to come back to, and its
rows as one text.

`statement_timestamp()`, which is what the store asks for the time, is found in our schema before PostgreSQL's own.
"""

import contextlib
import datetime as dt
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.template import create_database

# When every execution begins.
START = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
APPS = ("outbox", "payments", "shop", "notifications")

_CLOCK = """
CREATE SCHEMA schedules;
CREATE TABLE schedules.clock (at timestamptz NOT NULL);
INSERT INTO schedules.clock VALUES ('{start}');
CREATE FUNCTION schedules.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT at FROM schedules.clock';
"""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of a PostgreSQL: that of DATABASE_URL, or one of our own for as long as this lasts."""
    from shop.local.postgres import EmbeddedPostgres

    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="store-schedules-") as folder:
        Path(folder).chmod(0o711)  # as root, PostgreSQL's account must get through
        postgres = EmbeddedPostgres(Path(folder) / "postgresql")
        try:
            yield postgres.start()
        finally:
            postgres.remove()


@contextlib.contextmanager
def database() -> Iterator[None]:
    """A migrated database with our clock, which Django's connections lead to inside."""
    from django.core.management import call_command
    from django.db import connection, connections

    known = connection.settings_dict
    before, name = known["NAME"], f"schedules_{os.getpid()}"
    with _session(known, before) as admin:
        create_database(admin, name)
    known["NAME"] = connections.settings["default"]["NAME"] = name
    try:
        call_command("migrate", verbosity=0)
        with _session(known, name) as control:
            control.execute(_CLOCK.format(start=START.isoformat()).encode())
            path = sql.SQL("ALTER DATABASE {} SET search_path = schedules, public, pg_catalog")
            control.execute(path.format(sql.Identifier(name)))
            # What is lost with the machine is not what is tried here.
            control.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
            control.execute(sql.SQL("ALTER DATABASE {} SET jit = off").format(sql.Identifier(name)))
            _defaults_by_our_clock(control)
        connection.close()
        yield
    finally:
        connection.close()
        known["NAME"] = connections.settings["default"]["NAME"] = before
        with _session(known, before) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _session(known: dict[str, Any], name: str) -> "psycopg.Connection[tuple[Any, ...]]":
    parts = {"dbname": name, "host": known["HOST"], "port": known["PORT"]}
    parts |= {"user": known["USER"], "password": known["PASSWORD"]}
    return psycopg.connect(**{key: value for key, value in parts.items() if value}, autocommit=True)


def _defaults_by_our_clock(control: "psycopg.Connection[tuple[Any, ...]]") -> None:
    found = control.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_default ILIKE '%statement_timestamp()%'"
    ).fetchall()
    for table, column in found:
        change = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT schedules.statement_timestamp()")
        control.execute(change.format(sql.Identifier(table), sql.Identifier(column)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How everything was `at` some time, and the statements that put it back."""

    at: dt.datetime
    statements: str


# Where the relay begins to look depends on transaction ids, which no two executions share; what it finds does not.
WHERE_TO_LOOK = "ARRAY['cleared_through', 'clearing_through', 'clearing_since']"


class Control:
    """The director's own session: it keeps the clock, looks at rows and locks, and puts everything back."""

    def __init__(self) -> None:
        from django.db import connection

        self._session = _session(connection.settings_dict, connection.settings_dict["NAME"])
        self._session.execute("SET session_replication_role = replica")  # putting back is no transition
        self._tables = self._all_tables()
        self._rows = self._statement_of_rows()
        self._resets = 0
        self.now = START

    def close(self) -> None:
        self._session.close()

    def _all_tables(self) -> list[str]:
        like = [f"{app}\\_%" for app in APPS]
        found = self._session.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname LIKE ANY (%s) ORDER BY relname",
            [like],
        )
        return [name for (name,) in found.fetchall()]

    def _statement_of_rows(self) -> bytes:
        parts = [
            f"SELECT '{table}', (SELECT jsonb_agg(row ORDER BY row ->> 'id', row::text) "  # noqa: S608
            f"FROM {table} AS t, LATERAL (SELECT to_jsonb(t) - {WHERE_TO_LOOK} AS row) AS told)::text"
            for table in self._tables
        ]
        return " UNION ALL ".join(parts).encode()

    def set_clock(self, at: dt.datetime) -> None:
        self.now = at
        self._session.execute("UPDATE schedules.clock SET at = %s", [at])

    def wait(self, delay: dt.timedelta) -> None:
        self.set_clock(self.now + delay)

    def rows(self) -> dict[str, str]:
        """Each table that has rows, as JSON."""
        return {table: text for table, text in self._session.execute(self._rows).fetchall() if text is not None}

    def one(self, statement: str) -> Any:
        """The first value of the first row; None where there is none."""
        row = self._session.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def is_waiting(self, backend: int) -> bool:
        """Whether that session waits for a lock that another session holds."""
        return bool(self.one(f"SELECT cardinality(pg_blocking_pids({backend:d})) > 0"))

    def await_end_of(self, backend: int) -> None:
        """The server has noticed that the connection was cut, and has rolled back."""
        while self.one(f"SELECT 1 FROM pg_stat_activity WHERE pid = {backend:d}"):  # noqa: S608
            time.sleep(0.0003)

    def remember(self, name: str) -> Snapshot:
        """How everything is now, kept in a schema of that name."""
        statements = []
        self._session.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}".encode())
        for table in self._tables:
            self._session.execute(f"CREATE TABLE {name}.{table} AS TABLE {table}".encode())
            statements.append(f"DELETE FROM {table};")  # noqa: S608
            if self.one(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608
                statements.append(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {name}.{table};")  # noqa: S608
        found = self._session.execute(
            "SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences "
            "WHERE schemaname = 'public'"
        )
        for sequence, last in found.fetchall():
            statements.append(f"SELECT setval('{sequence}', {last + 1}, false);")
        statements.append(f"UPDATE schedules.clock SET at = '{self.now.isoformat()}';")  # noqa: S608
        return Snapshot(at=self.now, statements="\n".join(statements))

    def reset(self, to: Snapshot) -> None:
        self._session.execute(to.statements.encode())
        self.now = to.at
        self._resets += 1
        if self._resets % 300 == 0:  # rows that were deleted are looked at by every later statement
            for table in self._tables:
                self._session.execute(f"VACUUM {table}".encode())
