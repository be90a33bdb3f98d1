"""A whole store of real processes whose every crash point is in the test's hands.

Where it is `proxied`, web and worker each reach PostgreSQL through a proxy of their own, and the worker bank, mail
provider and screening service too: so a host can vanish, and an acknowledgement get lost, at exactly the point at
which the process waits. Where processes are only killed, nothing stands between. Their role at PostgreSQL is an
ordinary one, as in production; this process's own is a superuser.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import environ
import psycopg
from django.apps import apps
from django.conf import settings
from django.db import Error, connection
from django.test import override_settings

from outbox import feed_tokens
from outbox.audit import audit, checks
from outbox.claims import Claimable
from outbox.crash_points import Fault
from outbox.pipeline import survey
from shop import warehouse_books
from shop.catalogue.seed import seed
from shop.local.postgres import EmbeddedPostgres
from shop.simulation.warehouse import Habits, Unreachable, Warehouse
from shop.simulation.warehouse_file import WarehouseFile
from tests.faults.baton import Baton, Held
from tests.faults.proxy import Proxy
from tests.sandbox_process import SandboxProcess
from tests.template import create_database
from tests.web_process import ROOT, WebProcess

# Seconds; the machine may be busy. After a host has vanished, its session's time-outs (30 to 45 s) come on top.
PATIENCE, VANISHED_PATIENCE = 60.0, 120.0
# Seconds after which a claim counts as one whose acknowledgement was lost. Calls take a tenth of it; where one is
# slower, its worker has lost its lease, and must not write.
OLD_CLAIM = 3.0
# A call's time, short: nothing here is far away. The lease is above four of them, as the system check wants.
CALLS = {
    "PAYMENT_CONNECT_TIMEOUT": "2",
    "PAYMENT_READ_TIMEOUT": "4",
    "PAYMENT_CALL_DEADLINE": "5",
    "PAYMENT_LEASE_SECONDS": "40",
    "PAYMENT_SETTLE_SECONDS": "0.5",
    "MAIL_TIMEOUT": "5",
    "MAIL_LEASE_SECONDS": "20",
    "SCREENING_TIMEOUT": "5",
}
# Every order of a scenario is the same shopper's, and larger ones are screened.
RULES = {"SCREENING_ABOVE": "15000", "REVIEW_ORDERS_PER_EMAIL": "0", "REVIEW_ORDERS_PER_ADDRESS": "0"}
# The tables of a copied database, their sequences with them, and the triggers' functions.
_GIVE_AWAY = """
DO $$ DECLARE change text; BEGIN
    FOR change IN
        SELECT format('ALTER TABLE %s OWNER TO {role}', oid::regclass) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO {role}', oid::regprocedure) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
    LOOP EXECUTE change; END LOOP;
END $$
"""
SERVER = ("NAME", "HOST", "PORT", "USER", "PASSWORD")


class CrashStore:
    """A context manager. With a PostgreSQL of its own, that may be stopped; else a database on the run's."""

    def __init__(self, folder: Path, *, postgres: EmbeddedPostgres | None = None, proxied: bool = False) -> None:
        self.postgres = postgres
        self.role = f"crashes_{os.getpid()}"
        self._proxied = proxied
        self._folder = folder
        self._worker: subprocess.Popen[bytes] | None = None
        self.dead: list[int] = []
        self._buried_at = 0.0
        self._claims: dict[str, float] = {}
        self._turning = threading.Lock()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with self._running as running:
            running.enter_context(self._database())
            self._start(running)
            self._running = running.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    # --- the start --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _database(self) -> Iterator[None]:
        """This process's own connection, and the processes', lead to a new database inside."""
        known = connection.settings_dict
        before = {part: known[part] for part in SERVER}
        connection.close()
        if self.postgres is not None:
            server = environ.Env.db_url_config(self.postgres.start())
            known.update({part: server[part] or "" for part in SERVER})
            known["HOST"] = server["HOST"].replace("%2F", "/").replace("%2f", "/")
        with psycopg.connect(self.address("postgres"), autocommit=True) as session:
            session.execute(f"CREATE ROLE {self.role} LOGIN PASSWORD '{self.role}'".encode())
            if self.postgres is None:
                create_database(session, self.role)
            else:
                session.execute(f"CREATE DATABASE {self.role}".encode())
            session.execute(f"ALTER DATABASE {self.role} OWNER TO {self.role}".encode())
        known["NAME"] = self.role
        with psycopg.connect(self.address(), autocommit=True) as session:
            session.execute(_GIVE_AWAY.format(role=self.role).encode())
        try:
            yield
        finally:
            connection.close()
            if self.postgres is None:  # on a server of the run: the next module of this process makes its own
                with psycopg.connect(self.address("postgres"), autocommit=True) as session:
                    session.execute(f"DROP DATABASE {self.role} WITH (FORCE)".encode())
                    session.execute(f"DROP ROLE {self.role}".encode())
            known.update(before)

    def address(self, database: str = "") -> str:
        known = connection.settings_dict
        parts = {"dbname": database or known["NAME"], "host": known["HOST"], "port": known["PORT"]}
        parts |= {"user": known["USER"], "password": known["PASSWORD"]}
        return psycopg.conninfo.make_conninfo(**{name: value for name, value in parts.items() if value})

    def _start(self, running: ExitStack) -> None:
        host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"] or 5432
        server = Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, int(port))
        # Paths of unix sockets are short.
        sockets = Path(tempfile.mkdtemp(prefix="crash-"))
        running.callback(shutil.rmtree, sockets, ignore_errors=True)
        self.baton = running.enter_context(Baton(sockets / "baton"))
        self.web_database = running.enter_context(Proxy(server, speaks_postgres=True))
        self.worker_database = running.enter_context(Proxy(server, speaks_postgres=True))
        self.web = running.enter_context(WebProcess(self._folder / "web.log"))
        self.sandbox = running.enter_context(
            SandboxProcess(
                self._folder / "sandbox",
                settle_seconds=0.1,
                screening_seconds=0.02,
                stripe_webhook_url=f"{self.web.url}/webhooks/stripe/",
                stripe_webhook_secret=settings.STRIPE_WEBHOOK_SECRET[0],
                sendgrid_webhook_url=f"{self.web.url}/webhooks/sendgrid/",
            )
        )
        outside = urlsplit(self.sandbox.url)
        assert outside.hostname is not None
        assert outside.port is not None
        self.outside = running.enter_context(Proxy((outside.hostname, outside.port)))
        through = f"http://127.0.0.1:{self.outside.port}" if self._proxied else self.sandbox.url
        self._environment = {
            **CALLS,
            **RULES,
            "STORE_ADDRESS": self.web.url,
            "STRIPE_API_BASE": through,
            "SENDGRID_API_BASE": through,
            "SCREENING_URL": f"{through}/screening",
            "SENDGRID_WEBHOOK_PUBLIC_KEY": (self.sandbox.data / "sendgrid_public_key").read_text().strip(),
            "DOORBELL_DIR": str(sockets / "bells"),
            "CRASH_BATON": str(self.baton.path),
        }
        running.enter_context(override_settings(STRIPE_API_BASE=self.sandbox.url, SENDGRID_API_BASE=self.sandbox.url))
        if self.postgres is not None:  # else the database is a migrated one's copy
            assert self.manage("migrate", "--verbosity", "0") == 0
        seed(stock=5000)
        self.web.start(**self.environment_of(self.web_database))
        running.callback(self.end_worker)
        self.start_worker()
        self.feed_token = feed_tokens.create(feed="warehouse", name="pretend")
        self.warehouse_file = self._folder / "warehouse.jsonl"
        self.warehouse = Warehouse(
            file=WarehouseFile(self.warehouse_file),
            base_url=self.web.url,
            token=self.feed_token,
            habits=Habits(),
        )
        running.callback(lambda: self.warehouse.close())  # whichever it is by then

    def environment_of(self, database: Proxy) -> dict[str, str]:
        """The environment of a process that reaches PostgreSQL through this proxy."""
        known = connection.settings_dict
        account = f"{self.role}:{self.role}"
        if not self._proxied:
            port = f":{known['PORT']}" if known["PORT"] else ""
            address = f"postgresql://{account}@{quote(known['HOST'], safe='')}{port}/{known['NAME']}"
        else:
            plain = "sslmode=disable&gssencmode=disable"
            address = f"postgresql://{account}@127.0.0.1:{database.port}/{known['NAME']}?{plain}"
        return {**self._environment, "DATABASE_URL": address}

    def manage(self, *arguments: str, **further: str) -> int:
        """Run a command without the baton to its end; its exit status."""
        environment = {**os.environ, **self.environment_of(self.worker_database), "CRASH_BATON": "", **further}
        with (self._folder / "manage.log").open("ab") as log:
            command = [sys.executable, "manage.py", *arguments]
            return subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=log, stderr=log).returncode

    @property
    def worker_pid(self) -> int:
        """Of the workers' process, which is running."""
        assert self._worker is not None
        assert self._worker.poll() is None
        return self._worker.pid

    def start_worker(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "manage.py", "run_workers"],
                cwd=ROOT,
                env={**os.environ, **self.environment_of(self.worker_database)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end_worker(self) -> None:
        process, self._worker = self._worker, None
        if process is not None:
            process.kill()
            process.wait()

    # --- faults -----------------------------------------------------------------------------------

    def inflict(self, fault: Fault, held: Held) -> None:
        """Do it to the process that is held at its point; afterwards everything runs that should."""
        assert self._worker is not None
        is_worker = held.pid == self._worker.pid
        database = self.worker_database if is_worker else self.web_database
        match fault:
            case Fault.KILL:
                self._kill(held, is_worker=is_worker)
            case Fault.VANISH:
                for proxy in (database, self.outside) if is_worker else (database,):
                    proxy.freeze()
                self._kill(held, is_worker=is_worker)
            case Fault.LOST_COMMIT:
                database.lose_commit(backend=held.backend)
                held.go()
                assert database.lost_commits.acquire(timeout=PATIENCE), "no COMMIT followed"
            case Fault.STOP:
                assert self.postgres is not None
                self.postgres.crash()
                held.go()
                self.postgres.start()

    def _kill(self, held: Held, *, is_worker: bool) -> None:
        held.kill()
        self.dead.append(held.pid)
        if is_worker:
            assert self._worker is not None
            assert self._worker.wait(PATIENCE) == -signal.SIGKILL
            self.start_worker()
        else:  # gunicorn starts another by itself
            self.wait_until(lambda: not _is_alive(held.pid), "the web server's worker is still there")

    # --- what follows -----------------------------------------------------------------------------

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """On a session of its own: from any thread, and over a restart of the database."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with psycopg.connect(self.address(), connect_timeout=5) as session:
                    return session.execute(query.encode(), parameters).fetchall()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    @staticmethod
    def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    def turn_warehouse(self) -> bool:
        """Let the warehouse read, pick and report once; False when there is nothing left to do."""
        with self._turning:
            try:
                return self.warehouse.turn()
            except Unreachable:
                return True

    def warehouse_closed(self) -> contextlib.AbstractContextManager[bool]:
        """Inside, nobody's turn of the warehouse begins."""
        return self._turning

    def end_leases(self) -> None:
        """Time passes, for nobody but those who cannot notice: over are the claims of the dead, and those that were
        committed without their worker's knowing."""
        if time.monotonic() < self._buried_at + 1.0:
            return
        self._buried_at = time.monotonic()
        tables = [model._meta.db_table for model in apps.get_models() if issubclass(model, Claimable)]
        claims = " UNION ALL ".join(f"SELECT token, claimed_by FROM {each} WHERE token IS NOT NULL" for each in tables)  # noqa: S608
        held = {str(token): int(who.rpartition(":")[2]) for token, who in self.sql(claims)}
        self._claims = {token: self._claims.get(token, self._buried_at) for token in held}
        over = [
            token
            for token, since in self._claims.items()
            if held[token] in self.dead[-3:] or self._buried_at > since + OLD_CLAIM
        ]
        if not over:
            return
        # What a vanished host's session has locked stays with it until its time-outs.
        ended = (
            f"{table}_ended AS (UPDATE {table} SET due_at = now() WHERE id IN (SELECT id FROM {table} "  # noqa: S608
            "WHERE token IN (SELECT token FROM over) FOR UPDATE SKIP LOCKED))"
            for table in tables
        )
        self.sql(f"WITH over AS (SELECT unnest(%s::uuid[]) AS token), {', '.join(ended)} SELECT 1", over)

    def wait_quiet(self, *, seconds: float) -> None:
        """Until nothing waits for the store's machines or the warehouse."""
        deadline = time.monotonic() + seconds
        while True:
            self.end_leases()
            more = self.turn_warehouse()
            try:
                now = survey()
            except Error:
                connection.close()  # the database is being started again
            else:
                if now.quiet and not more:
                    return
                assert time.monotonic() < deadline, f"not quiet: {now.unsettled}"
            time.sleep(0.15)

    def violations(self) -> list[str]:
        """What check_money finds with all its invariants, the warehouse's file among its sources."""
        with warehouse_books.compared_with(self.warehouse_file):
            results = audit(checks())
        found = [result.unreadable for result in results if result.unreadable]
        found += [f"{each.check.invariant} {difference}" for each in results for difference in each.differences]
        return found

    def logged(self, text: str) -> list[str]:
        """The lines of web and worker with this text."""
        logs = [self._folder / name for name in ("web.log", "worker.log")]
        return [line for log in logs if log.exists() for line in log.read_text().splitlines() if text in line]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
