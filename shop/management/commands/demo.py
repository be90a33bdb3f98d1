import os
import signal
import tempfile
import time
from argparse import ArgumentTypeError
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, positive
from shop.local.kills import Kills
from shop.local.operators import Operators
from shop.local.ports import first_free, take
from shop.local.postgres import PostgresError
from shop.local.store import PICKING, LocalStore, StoreError

DEFAULT_PORT = 8000
# Shoppers at once: about what two web workers serve on two cores.
CONCURRENCY = 8
# Seconds that everything may take to settle after the last order, and how much longer where workers were killed:
# what they had claimed waits for its lease.
QUIET_WITHIN, LEASES_WITHIN = 120, 120
# What the summary counts: tables, and the column by which.
COUNTED = {
    "Orders": ("shop_order", "status"),
    "Payments": ("payments_payment", "status"),
    "Refunds": ("payments_refund", "status"),
    "Mails": ("notifications_message", "status"),
    "Decisions to": ("outbox_decision", "kind"),
}


class Command(StoreCommand):
    help = (
        "Run the whole store on this machine: PostgreSQL (unless DATABASE_URL is set), a bank and mail "
        "sandbox, web, workers, scheduler and a pretend warehouse. Ctrl-C stops all of it; the next start finds the "
        "data again."
    )
    exit_codes: ClassVar = {
        0: "stopped by Ctrl-C; with --exit: all is right",
        1: "something did not start, or with --exit: something is not right",
        INTERRUPTED: "with --exit: ended by Ctrl-C before the end",
    }
    examples = (
        "",
        "--orders 60 --exit",
        "--orders 60 --with-kills --operators 2 --exit",
        "--port 9000 --data /tmp/my-store",
    )
    # The settings of this process are not the store's, which gets an environment of its own.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--orders", type=positive, metavar="N", help="let so many shoppers order, then check the money"
        )
        parser.add_argument("--exit", action="store_true", help="then stop; status 0 only if all is right")
        parser.add_argument("--with-kills", action="store_true", help="kill -9 workers and web meanwhile")
        parser.add_argument(
            "--operators",
            type=int,
            choices=range(10),
            default=0,
            metavar="K",
            help="let so many retry, cancel and refund at random at the admin meanwhile (%(default)s)",
        )
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everybody's choices (%(default)s)")
        parser.add_argument("--port", type=_port_number, help=f"of the store ({DEFAULT_PORT}, or the next free one)")
        parser.add_argument(
            "--data", type=Path, metavar="DIR", help="of everything it keeps (var/demo; with --exit a temporary one)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("with_kills", "operators"):
            if options[name] and not options["orders"]:
                raise CommandError(f"--{name.replace('_', '-')} needs --orders.", returncode=UNUSABLE)
        self.console = Console(highlight=False)
        try:
            port = self._port(options["port"])
            _catch_signals()
            with ExitStack() as stack:
                store = LocalStore(
                    project=settings.BASE_DIR,
                    data=self._data(stack, **options).absolute(),
                    port=port,
                    sandbox_port=first_free(start=port + 1),
                    database_url=os.environ.get("DATABASE_URL"),
                    picking=0.0 if options["orders"] else PICKING,
                    report=self._report,
                )
                self.console.print("Starting; the first time takes a moment longer.")
                self._run(stack.enter_context(store), **options)
        except (PostgresError, StoreError, LookupError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            if options["exit"]:
                raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
        self.console.print("Stopped.")

    def _port(self, wanted: int | None) -> int:
        if wanted is not None:
            if not take(wanted):
                raise CommandError(f"Port {wanted} is in use: choose another, or leave --port away.")
            return wanted
        port = first_free(start=DEFAULT_PORT)
        if port != DEFAULT_PORT:
            self._report(f"port {DEFAULT_PORT} is in use, so the store is at {port}")
        return port

    def _data(self, stack: ExitStack, **options: Any) -> Path:
        if options["data"]:
            return Path(options["data"])
        if not options["exit"]:
            return Path(settings.BASE_DIR) / "var" / "demo"
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="store-")))
        temporary.chmod(0o711)  # as root, PostgreSQL's account must get through
        return temporary

    def _run(self, store: LocalStore, **options: Any) -> None:
        self._print_addresses(store)
        if options["orders"]:
            try:
                self._simulate(store, **options)
            except (CommandError, StoreError):
                self.console.print(store.log_endings(), markup=False, soft_wrap=True)
                raise
        if not options["exit"]:
            self.console.print("Ctrl-C stops everything.")
            store.run_until(lambda: False)

    def _simulate(self, store: LocalStore, **options: Any) -> None:
        """Shoppers through the public pages, operators at the admin, then the books. Raises CommandError at the first
        thing wrong."""
        orders, seed = options["orders"], options["seed"]
        people = Operators(store, seed=seed)
        kills = Kills(store=store, orders=orders, report=self._report)
        started = time.monotonic()
        operators = people.begin_work(options["operators"]) if options["operators"] else None
        self._manage(
            store,
            *("simulate_shoppers", "--orders", str(orders)),
            *("--concurrency", str(CONCURRENCY), "--seed", str(seed), "--mix"),
            meanwhile=kills if options["with_kills"] else None,
        )
        ordered = time.monotonic()
        if options["with_kills"] and kills.pending:
            raise CommandError(f"Too few orders came in to kill {', '.join(kills.pending)}.")
        if operators is not None:
            status = store.end(operators)
            self.console.print(store.log("simulate_operators").read_text(), markup=False)
            if status:
                raise CommandError(f"The operators ended with status {status}.")
        patience = QUIET_WITHIN + (LEASES_WITHIN if options["with_kills"] else 0)
        self._manage(store, "pipeline_status", "--wait-quiet", str(patience))
        if operators is not None:
            people.decide_what_waits(patience=patience)
        quiet = time.monotonic()
        self._manage(store, "check_money", "--warehouse-file", str(store.warehouse_file))
        self._print_summary(store, ordering=ordered - started, settling=quiet - ordered)

    def _manage(self, store: LocalStore, *arguments: str, meanwhile: Kills | None = None) -> None:
        if status := store.manage(*arguments, meanwhile=meanwhile):
            raise CommandError(f"{arguments[0]} ended with status {status}.")

    def _report(self, line: str) -> None:
        self.console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False, soft_wrap=True)

    def _print_addresses(self, store: LocalStore) -> None:
        table = Table(title="The store is open", title_justify="left", show_header=False)
        for name, value in {
            "Store": f"{store.address}/",
            "Admin": f"{store.address}/admin/",
            **{f"  as {name}": password for name, password in store.logins.items()},
            "Bank's ledger": f"{store.sandbox_address}/bank/",
            "Mailbox": f"{store.sandbox_address}/mailbox/",
            "Faults": f"{store.sandbox_address}/faults/",
            "Logs": str(store.logs),
        }.items():
            table.add_row(name, value)
        self.console.print(table)

    def _print_summary(self, store: LocalStore, *, ordering: float, settling: float) -> None:
        table = Table(title="All is right", title_justify="left", show_header=False)
        for what, (relation, column) in COUNTED.items():
            for value, count in store.query(f"SELECT {column}, count(*) FROM {relation} GROUP BY 1 ORDER BY 1"):  # noqa: S608
                table.add_row(f"{what} {value}", str(count))
        table.add_row("Seconds of ordering", f"{ordering:.1f}")
        table.add_row("Seconds until quiet", f"{settling:.1f}")
        self.console.print(table)


def _port_number(text: str) -> int:
    if (number := positive(text)) > 65_534:
        raise ArgumentTypeError(f"{text} is no port: those end at 65534, as the sandbox takes the next one")
    return number


def _catch_signals() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup sets
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Once: what follows must not disturb the stopping."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
