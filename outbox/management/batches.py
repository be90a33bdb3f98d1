"""The shape of every command that works off batches: `--batch`, `--limit`, `--watch`."""

import argparse
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from outbox.doorbell import Doorbell
from outbox.loops import IDLE_SECONDS


def positive(text: str) -> int:
    """An argument that must be a whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


class BatchCommand(BaseCommand):
    """Runs `run_once` until there is nothing left, `--limit` items are done, or Ctrl-C.

    Ctrl-C finishes the batch under way and says what was done.
    """

    batch = 100
    items = "items"
    bell = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch",
            type=positive,
            default=self.batch,
            help="at most so many in one transaction (%(default)s)",
        )
        parser.add_argument("--limit", type=positive, help="stop after about so many")
        parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C instead of until nothing is left")

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        raise NotImplementedError

    def finish(self) -> None:
        """Called once at the end, also after an error."""

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def interrupt(signum: int, frame: FrameType | None) -> None:
            stop.set()

        previous = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
        bell = Doorbell(self.bell or self.items)
        done = 0
        try:
            while not stop.is_set() and (options["limit"] is None or done < options["limit"]):
                left = options["limit"] - done if options["limit"] else options["batch"]
                moved = self.run_once(batch=min(options["batch"], left), options=options)
                done += moved
                if not moved:
                    if not options["watch"]:
                        break
                    bell.wait(IDLE_SECONDS)
        except LookupError as error:
            raise CommandError(str(error.args[0] if error.args else error)) from error
        finally:
            self.finish()
            bell.close()
            for signum, handler in previous.items():
                signal.signal(signum, handler)
        self.stdout.write(f"{done} {self.items}.")
