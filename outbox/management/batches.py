"""The shape of every command that works off batches: `--batch`, `--limit`, `--watch`, `--json`."""

import json
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from rich.console import Console

from outbox.doorbell import Doorbell
from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, positive
from outbox.registry import PROMPT


class BatchCommand(StoreCommand):
    """Runs `run_once` until there is nothing left, `--limit` items are done, or Ctrl-C.

    Ctrl-C finishes the batch under way and says what was done; a second one ends it at once, as a kill would:
    claims and cursors make even that harmless.
    """

    exit_codes: ClassVar = {
        0: "nothing is left, the limit is reached, or SIGTERM ended it",
        INTERRUPTED: "ended by Ctrl-C: the batch under way was finished, and what was done is said",
    }
    examples: ClassVar[tuple[str, ...]] = ("", "--batch 50 --limit 1000", "--watch", "--json")
    batch = 100
    items = "items"
    bell = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch",
            type=positive,
            default=self.batch,
            metavar="N",
            help="at most so many at once (%(default)s)",
        )
        parser.add_argument("--limit", type=positive, metavar="N", help="stop after about so many")
        parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C instead of until nothing is left")
        parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        raise NotImplementedError

    def finish(self) -> None:
        """Called once at the end, also after an error."""

    def handle(self, *args: Any, **options: Any) -> None:
        stopped_by: list[int] = []
        stop = threading.Event()

        def interrupt(signum: int, frame: FrameType | None) -> None:
            if stop.is_set() and signum == signal.SIGINT:
                raise KeyboardInterrupt
            stopped_by.append(signum)
            stop.set()

        previous = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
        bell = Doorbell(self.bell or self.items)
        begun = time.monotonic()
        done = 0
        try:
            with Console(stderr=True).status(f"0 {self.items}") as progress:
                while not stop.is_set() and (options["limit"] is None or done < options["limit"]):
                    left = options["limit"] - done if options["limit"] else options["batch"]
                    moved = self.run_once(batch=min(options["batch"], left), options=options)
                    done += moved
                    progress.update(f"{done} {self.items}")
                    if not moved:
                        if not options["watch"]:
                            break
                        bell.wait(PROMPT)
        except LookupError as error:
            raise CommandError(str(error.args[0] if error.args else error), returncode=UNUSABLE) from error
        finally:
            self.finish()
            bell.close()
            for signum, handler in previous.items():
                signal.signal(signum, handler)
        interrupted = signal.SIGINT in stopped_by
        if options["json"]:
            summary = {"done": done, "what": self.items, "seconds": round(time.monotonic() - begun, 3)}
            self.stdout.write(json.dumps({**summary, "interrupted": interrupted}))
        else:
            self.stdout.write(f"{done} {self.items}{', then interrupted' if interrupted else ''}.")
        if interrupted:
            sys.exit(INTERRUPTED)
