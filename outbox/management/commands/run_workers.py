import gc
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from prometheus_client import start_http_server

from outbox import metrics, registry
from outbox.loops import Loop
from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, positive


class Command(StoreCommand):
    help = (
        "Run the store's workers until SIGTERM or Ctrl-C: each claims rows or reads the log, and shares the work "
        "with any number of others. A second Ctrl-C ends it at once; leases and cursors make even that harmless."
    )

    exit_codes: ClassVar = {
        0: "stopped by SIGTERM, all steps finished",
        1: "a loop ended unasked: start it again",
        INTERRUPTED: "stopped by Ctrl-C, all steps finished",
    }
    examples = ("", "payments", "outbox messages", "--list")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "workers", nargs="*", help=f"which to run (all): {', '.join(registry.groups())}, or single loops"
        )
        parser.add_argument(
            "--metrics-port", type=positive, metavar="PORT", help="serve this process's metrics on 127.0.0.1:PORT"
        )
        parser.add_argument("--list", action="store_true", help="print the loops and their groups, and leave")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            specs = registry.loops(only=options["workers"])
        except LookupError as error:
            raise CommandError(str(error.args[0]), returncode=UNUSABLE) from error
        if options["list"]:
            for spec in specs:
                self.stdout.write(f"{spec.group}: {spec.name}")
            return
        if port := options["metrics_port"]:
            _serve_metrics(port)
        loops = [Loop(spec) for spec in specs]
        stopping = threading.Event()
        asked: list[int] = []

        def stop(signum: int, frame: FrameType | None) -> None:
            if stopping.is_set():
                os._exit(INTERRUPTED)  # threads that run while the interpreter is taken down may crash it
            stopping.set()
            asked.append(signum)
            for each in loops:
                each.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        # What was loaded so far stays: each full collection of garbage would look through all of it again.
        gc.freeze()
        # Daemons, so that a loop that cannot end does not keep the process alive.
        threads = [threading.Thread(target=loop.run, name=loop.name, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        self.stdout.write(f"Running {', '.join(loop.name for loop in loops)}. Ctrl-C stops.")
        while all(thread.is_alive() for thread in threads):
            time.sleep(0.2)
        # A loop survives every error; if one ended all the same, the process ends too and is started afresh.
        failed = not stopping.is_set()
        for each in loops:
            each.stop()
        for thread in threads:
            thread.join()
        if failed:
            raise CommandError("A loop ended unasked; see the log. The process must be started again.")
        handled = sum(loop.handled for loop in loops)
        self.stdout.write(f"Stopped; {handled} items were handled.")
        if signal.SIGINT in asked:
            sys.exit(INTERRUPTED)


def _serve_metrics(port: int) -> None:
    try:
        start_http_server(port, addr="127.0.0.1", registry=metrics.PROCESS)
    except OSError as error:
        raise CommandError(f"Metrics cannot be served on port {port}: {error}.", returncode=UNUSABLE) from error
