import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, percent, seconds
from shop.simulation.warehouse import Broken, Habits, Unreachable, Warehouse
from shop.simulation.warehouse_file import FileInUse, WarehouseFile

FILE = "warehouse.jsonl"
# Seconds between two tries while the store is away.
OUTAGE_PAUSE = 1.0


class Command(StoreCommand):
    help = (
        "A pretend warehouse: reads its feed, ships, reports; over HTTP only, as a real one would. What it knows is "
        f"in its own file {FILE}, from which it goes on after any kill. Without --watch it ends when all is answered."
    )
    exit_codes: ClassVar = {
        0: "all is answered, or SIGTERM ended it",
        1: "the store cannot be reached or broke its promises, or another one uses the file",
        INTERRUPTED: "ended by Ctrl-C; what it knows is in its file",
    }
    examples = ("--token TOKEN --watch", "--token TOKEN --short 5 --chaos")
    # It is somebody else's machine: it needs an address and a token, and none of the store's services.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--data", type=Path, default=settings.BASE_DIR / "var" / "warehouse", help=f"folder of {FILE} (%(default)s)"
        )
        parser.add_argument("--base-url", default=settings.STORE_ADDRESS, help="of the store (%(default)s)")
        parser.add_argument("--token", help="made by `feed_token create warehouse …`; or set WAREHOUSE_TOKEN")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all choices (%(default)s)")
        parser.add_argument("--short", type=percent, default=0.0, metavar="PERCENT", help="of goods that are not found")
        parser.add_argument(
            "--picking", type=_not_negative, default=0.0, metavar="SECONDS", help="that an order takes (%(default)s)"
        )
        parser.add_argument("--chaos", action="store_true", help="say some things twice, and out of order")
        parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C, over every outage")
        parser.add_argument(
            "--poll", type=seconds, default=0.5, metavar="SECONDS", help="between two looks (%(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        token = options["token"] or os.environ.get("WAREHOUSE_TOKEN")
        if not token:
            raise CommandError("It needs a token: see `manage.py feed_token create --help`.", returncode=UNUSABLE)
        try:
            warehouse = Warehouse(
                file=WarehouseFile(options["data"] / FILE),
                base_url=options["base_url"],
                token=token,
                habits=Habits(
                    seed=options["seed"],
                    short=options["short"],
                    picking=options["picking"],
                    chaos=options["chaos"],
                ),
            )
        except FileInUse as error:
            raise CommandError(str(error)) from error
        try:
            if options["watch"]:
                self._watch(warehouse, poll=options["poll"])
            else:
                while warehouse.turn():
                    time.sleep(options["poll"])
        except (Broken, Unreachable) as error:
            raise CommandError(str(error)) from error
        finally:
            warehouse.close()

    def _watch(self, warehouse: Warehouse, *, poll: float) -> None:
        stop = threading.Event()

        asked: list[int] = []

        def interrupt(signum: int, frame: FrameType | None) -> None:
            asked.append(signum)
            stop.set()

        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, interrupt)
        while not stop.is_set():
            try:
                warehouse.turn()
                stop.wait(poll)
            except Unreachable as error:
                self.stderr.write(str(error))
                stop.wait(OUTAGE_PAUSE)
        if signal.SIGINT in asked:
            sys.exit(INTERRUPTED)


def _not_negative(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else seconds(text)
