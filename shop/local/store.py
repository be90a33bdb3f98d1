"""The whole store on one machine: PostgreSQL, sandbox, web, workers, scheduler and a warehouse, each a process."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg

from shop.local.environment import Secrets, store_environment, write_environment_file
from shop.local.ports import LOOPBACK
from shop.local.postgres import EmbeddedPostgres, PostgresError
from shop.local.supervisor import LONGEST_PAUSE, Program, Supervisor

# The superuser, and two of the store's groups (shop/management/commands/seed_operators.py).
OPERATOR, PAYMENT_OPERATOR, APPROVER = "operator", "payment-operator", "approver"
WORKERS = ("outbox", "payments", "messages")
# Bytes that leave room for a unix socket's name; beyond, the workers find a place by themselves.
LONGEST_DOORBELLS_PATH = 60
# How much of a log is shown where something failed.
LAST_LINES = 8
# Seconds until a process answers; a cold disk needs most of them.
PATIENCE = 60.0
# Seconds between two tries to start a dead database again.
DATABASE_PAUSE = 2.0
# Seconds. The scheduler's sweep beats every minute, first up to 90 s after the start, and takes up to 50.
SWEEP_PATIENCE = 240
# Seconds that the warehouse takes for an order: time for a shopper to change their mind.
PICKING = 20.0
# Percent of the orders whose goods it does not find.
SHORT = 3.0


class StoreError(Exception):
    """Some part did not start; the message says which, and where its log is."""


class LocalStore:
    """A context manager: inside it the store runs, and after it nothing does."""

    def __init__(
        self,
        *,
        project: Path,
        data: Path,
        port: int,
        sandbox_port: int,
        control_port: int = 0,
        database_url: str | None,
        report: Callable[[str], None],
        picking: float = PICKING,
        short: float = SHORT,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        """`project` has manage.py. Without `database_url`, PostgreSQL is started too. `report` gets lines. `picking`:
        seconds that the warehouse takes for an order; `short`: percent of the orders whose goods it does not find.
        `longest_pause`: seconds before what died is started again. `control_port`: where the sandbox takes faults even
        while its bank is down; any free one."""
        self.address = f"http://{LOOPBACK}:{port}"
        self.sandbox_address = f"http://{LOOPBACK}:{sandbox_port}"
        self.control_address = f"http://{LOOPBACK}:{control_port}"
        self.logs = data / "logs"
        self.environment_file = data / "store.env"
        self.warehouse_file = data / "warehouse" / "warehouse.jsonl"
        self._project = project
        self._data = data
        self._port, self._sandbox_port, self._control_port = port, sandbox_port, control_port
        self._database_url = database_url
        self._postgres: EmbeddedPostgres | None = None
        self._database_again_at = 0.0
        self._environment: dict[str, str] = {}
        self._report = report
        self._picking, self._short = picking, short
        self._running = ExitStack()
        self._longest_pause = longest_pause

    def __enter__(self) -> Self:
        with self._running as running:
            self._start(running)
            self._running = running.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    @property
    def logins(self) -> dict[str, str]:
        """Passwords of the demo's operators, by their names; an account that was in the database before keeps its
        own."""
        return {
            OPERATOR: self._secrets.operator_password,
            PAYMENT_OPERATOR: self._secrets.payment_operator_password,
            APPROVER: self._secrets.approver_password,
        }

    def pid(self, name: str) -> int | None:
        """The number of a process: web, outbox, payments, messages, scheduler, sandbox or warehouse."""
        return self._supervisor.pid(name)

    @property
    def web_worker_pid(self) -> int | None:
        """One of the processes that answer requests, below `web`."""
        parent = self.pid("web")
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            return None  # there is no `web` just now
        return int(children[0]) if children else None

    @property
    def database_pid(self) -> int | None:
        """The number of PostgreSQL's first process; None while it is down, or not ours."""
        return self._postgres.pid if self._postgres is not None and self._postgres.is_running else None

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the store's database."""
        with psycopg.connect(self._environment["DATABASE_URL"], connect_timeout=5) as session:
            return session.execute(statement.encode()).fetchall()

    def log(self, name: str) -> Path:
        """Where a process, or a command that was begun, writes."""
        return self._supervisor.log(name)

    def log_endings(self) -> str:
        """The last lines of every process, for a report on what went wrong."""
        return "\n\n".join(_ending(log) for log in sorted(self.logs.glob("*.log")))

    def manage(self, *arguments: str, meanwhile: Callable[[], None] | None = None, **environment: str) -> int:
        """Run `manage.py` on the terminal to its end, calling `meanwhile` now and then; its exit status."""

        def look() -> None:
            self._keep_database()
            if meanwhile is not None:
                meanwhile()

        return self._supervisor.run(self._manage(*arguments, **environment), to_terminal=True, each_look=look)

    def begin(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start `manage.py` beside what follows, until `end`; what it says goes to the log of its name."""
        return self._supervisor.begin(self._manage(*arguments, **environment))

    def end(self, process: "subprocess.Popen[bytes]") -> int:
        """Ask what was begun to end, and await that; its exit status."""
        return self._supervisor.end(process, each_look=self._keep_database)

    def wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Await the end of what was begun; its exit status."""
        return self._supervisor.wait(process, each_look=self._keep_database)

    def run_until(self, done: Callable[[], bool]) -> None:
        """Keep everything running until `done`."""
        self._supervisor.run_until(done, each_look=self._keep_database)

    # --- the start ------------------------------------------------------------------------------

    def _start(self, running: ExitStack) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        self._secrets = Secrets.kept_in(self._data / "secrets.json")
        database_url = self._database_url
        if database_url is None:
            self._postgres = running.enter_context(EmbeddedPostgres(self._data / "postgresql"))
            database_url = self._postgres.url
        self._supervisor = running.enter_context(
            Supervisor(logs=self.logs, report=self._report, longest_pause=self._longest_pause)
        )
        self._start_sandbox()
        settings = store_environment(
            secrets=self._secrets,
            database_url=database_url,
            store_address=self.address,
            sandbox_address=self.sandbox_address,
            sendgrid_public_key=(self._data / "sandbox" / "sendgrid_public_key").read_text().strip(),
        )
        doorbells = self._data / "doorbells"
        if len(os.fsencode(doorbells)) <= LONGEST_DOORBELLS_PATH:
            settings["DOORBELL_DIR"] = str(doorbells)
        self._environment = {**os.environ, **settings}
        self._set_up("migrate", "--no-input")
        self._set_up("seed_catalogue")
        self._make_operators()
        self._start_store()
        self._start_warehouse()
        running.callback(self.environment_file.unlink, missing_ok=True)
        write_environment_file(self.environment_file, settings)

    def _start_sandbox(self) -> None:
        options = {
            "--data": str(self._data / "sandbox"),
            "--port": str(self._sandbox_port),
            "--control-port": str(self._control_port),
            "--stripe-webhook-url": f"{self.address}/webhooks/stripe/",
            "--stripe-webhook-secret": self._secrets.stripe_webhook_secret,
            "--sendgrid-webhook-url": f"{self.address}/webhooks/sendgrid/",
        }
        command = ["-m", "sandbox", *(part for option in options.items() for part in option)]
        self._supervisor.start(self._program("sandbox", *command))
        self._await_answer("sandbox", f"{self.sandbox_address}/bank/")

    def _set_up(self, *arguments: str, **environment: str) -> None:
        program = self._manage(*arguments, **environment)
        if self._supervisor.run(program):
            raise StoreError(f"{program.name} failed; {_ending(self._supervisor.log(program.name))}")

    def _make_operators(self) -> None:
        """The demo's superuser, and one operator of each group that handles money."""
        known = {name for (name,) in self.query("SELECT username FROM auth_user")}
        if OPERATOR not in known:
            account = ["--username", OPERATOR, "--email", f"{OPERATOR}@store.example"]
            self._set_up("createsuperuser", "--no-input", *account, DJANGO_SUPERUSER_PASSWORD=self.logins[OPERATOR])
        if not {PAYMENT_OPERATOR, APPROVER} <= known:
            self._set_up(
                "seed_operators",
                PAYMENT_OPERATOR_PASSWORD=self.logins[PAYMENT_OPERATOR],
                APPROVER_PASSWORD=self.logins[APPROVER],
            )

    def _start_store(self) -> None:
        web = ["-m", "gunicorn", "shop.wsgi", "--bind", f"{LOOPBACK}:{self._port}", "--no-control-socket"]
        web += ["--workers", "2", "--threads", "8", "--graceful-timeout", "10", "--preload"]
        self._supervisor.start(self._program("web", *web))
        for worker in WORKERS:
            self._supervisor.start(self._program(worker, "manage.py", "run_workers", worker))
        beats = partial(scheduler_beats, self._environment["DATABASE_URL"])
        self._supervisor.start(self._program("scheduler", "manage.py", "qcluster", healthy=beats))
        self._await_answer("web", f"{self.address}/readyz")

    def _start_warehouse(self) -> None:
        """A stranger over HTTP, with a token of its own; the one it had at the last start ends."""
        feed_token = self._manage("feed_token", "create", "warehouse", "pretend warehouse", "--replace")
        made = subprocess.run(
            feed_token.command, env=feed_token.environment, cwd=feed_token.folder, capture_output=True, text=True
        )
        if made.returncode:
            raise StoreError(f"The warehouse got no token: {made.stderr}")
        options = ["--data", str(self.warehouse_file.parent), "--base-url", self.address]
        options += ["--watch", "--picking", str(self._picking), "--short", str(self._short), "--chaos"]
        program = self._program("warehouse", "manage.py", "simulate_warehouse", *options)
        environment = {**program.environment, "WAREHOUSE_TOKEN": made.stdout.strip()}
        self._supervisor.start(replace(program, environment=environment))

    def _program(self, name: str, *arguments: str, healthy: Callable[[], bool] | None = None) -> Program:
        return Program(
            name=name,
            command=[sys.executable, *arguments],
            environment=self._environment or os.environ,
            folder=self._project,
            healthy=healthy,
            settle=SWEEP_PATIENCE,
        )

    def _manage(self, *arguments: str, **environment: str) -> Program:
        program = self._program(arguments[0], "manage.py", *arguments)
        return replace(program, environment={**program.environment, **environment})

    def _await_answer(self, name: str, url: str) -> None:
        deadline = time.monotonic() + PATIENCE
        self._supervisor.run_until(lambda: _answers(url) or time.monotonic() > deadline)
        if not _answers(url):
            raise StoreError(f"{name} did not answer at {url}; {_ending(self._supervisor.log(name))}")

    # --- the watch ------------------------------------------------------------------------------

    def _keep_database(self) -> None:
        if self._postgres is None or self._postgres.is_running or time.monotonic() < self._database_again_at:
            return
        self._report("PostgreSQL died; starting it again")
        try:
            self._postgres.start()
        except PostgresError as error:
            self._database_again_at = time.monotonic() + DATABASE_PAUSE
            self._report(str(error))


def scheduler_beats(database_url: str, *, patience: float = SWEEP_PATIENCE) -> bool:
    """Whether the scheduler's sweep has begun within `patience` seconds. A process killed or stopped inside qcluster
    can hang the rest of it for ever."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as session:
            ((age,),) = session.execute(
                "SELECT extract(epoch FROM now() - max(beat_at)) FROM outbox_heartbeat WHERE loop = 'sweep'"
            ).fetchall()
    except psycopg.Error:
        return True  # which is not the scheduler's fault
    return age is not None and age < patience


def _ending(log: Path) -> str:
    last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return f"{log} ends with:\n{last_lines}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
            return True
    except (urllib.error.URLError, OSError):
        return False
