"""The PostgreSQL that is measured: a durable one of its own in a temporary folder, or that of DATABASE_URL.

Each measurement works on a fresh copy of a database that was prepared once, so that it begins with the same tables and
indexes in every sweep, whatever was measured before it. Nothing of a store that lives on the same server is touched.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from shop.local.environment import Secrets, store_environment
from shop.local.postgres import EmbeddedPostgres

# Nothing listens there: no measurement calls anybody outside.
NOBODY = "http://127.0.0.1:9"
# Any key that can be read, as the web server asks for one: no webhook comes.
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkuoxbcaRxBp3VOkXoVOny8ITIju7"
    "NggxYMMYSZufGMl03pklQm1wR60hL2z0wzwC0QuSOd+3C1tP+VbeC/30iQ=="
)
# A commit that does not wait for the disk is another store's: the numbers would mean nothing.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SHOWN = (*DURABLE, "server_version", "shared_buffers", "max_wal_size", "autovacuum", "wal_sync_method")
# Databases whose name begins so stay when the process ends, and have the same name for the next one.
KEPT = "kept_"


class NotDurable(Exception):
    """The server acknowledges what it could still lose; the message says by which setting."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and a folder for what its clients leave on this machine."""

    address: str
    folder: Path
    secrets: Secrets = field(default_factory=Secrets.fresh)

    def url(self, database: str) -> str:
        """The DATABASE_URL of a database here; names are this process's own, but for those of KEPT."""
        return urlsplit(self.address)._replace(path=f"/{_own(database)}").geturl()

    def environment(self, database: str, **more: str) -> dict[str, str]:
        """For a process of the store on that database. Orders wait for nobody outside."""
        store = store_environment(
            secrets=self.secrets,
            database_url=self.url(database),
            store_address="http://127.0.0.1:8000",
            sandbox_address=NOBODY,
            sendgrid_public_key=PUBLIC_KEY,
        )
        rules = {"SCREENING_ABOVE": "0", "REVIEW_ORDERS_ABOVE": "0", "REJECT_ORDERS_ABOVE": "0"}
        bells = {"DOORBELL_DIR": str(self.folder / "bells"), "LOG_LEVEL": "WARNING"}
        return {**os.environ, **store, **rules, **bells, "DJANGO_SETTINGS_MODULE": "shop.settings", **more}

    def connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        """In autocommit; every statement is a transaction of its own."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, database: str, *, like: str | None = None) -> None:
        """An empty database, or a copy of one of ours that nobody is connected to."""
        template = sql.Identifier(_own(like) if like else "template0")
        with psycopg.connect(self.address, autocommit=True) as session:
            # Copied as files, between two checkpoints: that leaves nothing to write for the measurement to come.
            session.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(_own(database)), template
                )
            )

    def has(self, database: str) -> bool:
        with psycopg.connect(self.address) as session:
            return session.execute("SELECT FROM pg_database WHERE datname = %s", [_own(database)]).rowcount == 1

    def drop(self, database: str) -> None:
        with psycopg.connect(self.address, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_own(database))))

    def rename(self, database: str, name: str) -> None:
        """Nobody is connected to it."""
        with psycopg.connect(self.address, autocommit=True) as session:
            session.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(_own(database)), sql.Identifier(_own(name))
                )
            )

    def kept(self) -> dict[str, int]:
        """MB of all that is kept here, by the full name of the database."""
        with psycopg.connect(self.address) as session:
            return dict(
                session.execute(
                    "SELECT datname, pg_database_size(oid) >> 20 FROM pg_database WHERE starts_with(datname, %s)"
                    " ORDER BY pg_database_size(oid)",
                    [_own(KEPT)],
                ).fetchall()
            )

    @contextlib.contextmanager
    def copy(self, like: str) -> Iterator[str]:
        """The name of a copy that is gone afterwards."""
        name = f"{like}_copy"
        self.create(name, like=like)
        try:
            yield name
        finally:
            self.drop(name)

    def settings(self) -> dict[str, str]:
        """What numbers depend on. Raises NotDurable."""
        with psycopg.connect(self.address) as session:
            found: dict[str, str] = dict(
                session.execute(
                    "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(SHOWN)]
                ).fetchall()
            )
        wrong = [f"{name} is {found[name]}" for name, value in DURABLE.items() if found[name] != value]
        if wrong:
            raise NotDurable(f"This server may lose what it has acknowledged: {', '.join(wrong)}.")
        return found

    def main_process(self) -> int | None:
        """The server's main process, where it runs on this machine and can be looked at."""
        with psycopg.connect(self.address) as session:
            backend = Path(f"/proc/{session.info.backend_pid}")
            try:
                ours = (backend / "cmdline").read_bytes().startswith(b"postgres:")
                status = (backend / "status").read_text()
            except OSError:
                return None
        parents = [int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")]
        return parents[0] if ours and parents else None


def _own(database: str) -> str:
    return f"bench_{database}" if database.startswith(KEPT) else f"bench_{os.getpid()}_{database}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """The server of DATABASE_URL, whose role may make databases, or else one that ends with this block.

    Raises shop.local.postgres.PostgresError, psycopg.Error or NotDurable.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="store-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)  # as root, PostgreSQL's account must get through
        address = os.environ.get("DATABASE_URL")
        if address is None:
            postgres = EmbeddedPostgres(folder / "postgresql")
            stack.callback(postgres.remove)
            address = postgres.start()
        server = Server(address, folder)
        server.settings()
        yield server
