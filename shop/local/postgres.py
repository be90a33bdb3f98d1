"""One PostgreSQL server of our own on one data folder, for the demo and the tests: nothing to install.

It listens on a unix socket in a folder that only its account (and root) can enter, never on a port, and ends
with the process that started it. Production brings its own server, named by DATABASE_URL.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from shop.local.account import PostgresError, server_account
from shop.local.binaries import programs_folder
from shop.local.cluster import (
    ROLE,
    find_cluster,
    make_cluster,
    refuse_other_files,
    remove_data,
    remove_stale_pid_file,
)
from shop.local.guardian import Guardian

__all__ = ["EmbeddedPostgres", "PostgresError"]

DATABASE = "store"
# A commit that was acknowledged must survive anything; asserted again by SQL at each start.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SETTINGS = {
    **DURABLE,
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Bytes of a socket's path: 108 on Linux, 104 on macOS, each with a closing zero.
LONGEST_SOCKET_PATH = 103
SOCKET_PREFIX = "socket-"
# Seconds. A killed starter's server needs a moment to end and give its lock back; recovery after a crash
# replays at most a few hundred megabytes; a stop first writes what is not on disk yet.
LOCK_PATIENCE, START_PATIENCE, STOP_PATIENCE = 5.0, 60.0, 30.0


class EmbeddedPostgres:
    """`start` and `stop`, `crash` and `start` again: the address stays the same. Also a context manager."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self.data_dir / "server.log"
        self._account = server_account()
        self._server: subprocess.Popen[bytes] | None = None
        self._guardian: Guardian | None = None
        self._lock: IO[str] | None = None
        self._socket_dir: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The server's main process."""
        if self._server is None:
            raise PostgresError("The server was not started.")
        return self._server.pid

    @property
    def url(self) -> str:
        """The DATABASE_URL; as libpq wants it, the socket's folder stands percent-encoded for the host."""
        return self._url(DATABASE)

    def start(self) -> str:
        """Start on the data folder, made where there is none, and return the DATABASE_URL.

        Raises PostgresError where the folder holds something else, belongs to somebody else or to another
        major version, or is in use.
        """
        if self.is_running:
            raise PostgresError("The server is running already.")
        try:
            programs = programs_folder(account=self._account)
            self.data_dir.mkdir(parents=True, exist_ok=True)
            refuse_other_files(self.data_dir)
            lock = self._take_lock()
            cluster = find_cluster(self.data_dir, account=self._account)
            if cluster is None:
                cluster = make_cluster(self.data_dir, account=self._account, programs=programs)
            remove_stale_pid_file(cluster)
            self._socket_dir = self._make_socket_dir(cluster)
            self._launch([programs / "postgres", "-D", cluster, "-k", self._socket_dir], lock)
            self._await_ready()
        except OSError as error:
            self.stop()
            raise PostgresError(f"PostgreSQL cannot run on {self.data_dir}: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Cut all sessions, write everything, end. Does nothing when it is not running."""
        self._end(signal.SIGINT)
        if self._guardian is not None:
            self._guardian.end()
            self._guardian.wait()
            self._guardian = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._socket_dir is not None and self._socket_dir.name.startswith(SOCKET_PREFIX):
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def crash(self) -> None:
        """End at once and write nothing (PostgreSQL's immediate mode); the next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop, and delete all data."""
        self.stop()
        remove_data(self.data_dir)

    def _url(self, database: str) -> str:
        if self._socket_dir is None:
            raise PostgresError("The server was not started.")
        return f"postgresql://{ROLE}@{quote(str(self._socket_dir), safe='')}/{database}"

    def _take_lock(self) -> IO[str]:
        """Our server inherits the lock and gives it back when its last process ends: held means in use."""
        if self._lock is not None:
            return self._lock
        self._lock = (self.data_dir / "lock").open("a+")
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    self._lock.seek(0)
                    raise PostgresError(
                        f"A living server, started by process {self._lock.read()}, uses {self.data_dir}: "
                        "stop that one first, or choose another data folder."
                    ) from error
                time.sleep(0.05)
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self._lock

    def _make_socket_dir(self, cluster: Path) -> Path:
        """The cluster itself if its path is short enough; either place is closed to others."""
        if len(os.fsencode(cluster / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
            return cluster
        digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]
        folder = self._account.private_folder / f"{SOCKET_PREFIX}{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._account.own(folder)
        return folder

    def _launch(self, command: list[str | Path], lock: IO[str]) -> None:
        if self._guardian is None:
            self._guardian = Guardian(grace=STOP_PATIENCE)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [*command, *settings],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
                **self._account.process_arguments,
            )
        self._guardian.watch(self._server.pid, closing=signal.SIGINT)

    def _await_ready(self) -> None:
        """Wait until it answers, make the database on the first start, and prove the durable settings."""
        deadline = time.monotonic() + START_PATIENCE
        while (session := self._connect()) is None:
            if not self.is_running:
                last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
                raise PostgresError(f"PostgreSQL ended at once; {self.log} ends with:\n{last_lines}")
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL did not answer within {START_PATIENCE:.0f} s; see {self.log}.")
            time.sleep(0.02)
        with session:
            if not session.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        with psycopg.connect(self.url) as proof:
            query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
            found: dict[str, str] = dict(proof.execute(query, [list(DURABLE)]).fetchall())
        if found != DURABLE:
            raise PostgresError(f"The server is not durable: {found} instead of {DURABLE}.")

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]] | None":
        try:
            return psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            return None

    def _end(self, closing: signal.Signals) -> None:
        if self._server is None:
            return
        for each in (closing, signal.SIGQUIT, signal.SIGKILL):
            self._server.send_signal(each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=STOP_PATIENCE)
                break
        if self._guardian is not None:
            self._guardian.release(self._server.pid)
