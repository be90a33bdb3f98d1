import datetime as dt
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import Error, connection
from rich.console import Console
from rich.live import Live

from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, positive, seconds
from outbox.pipeline import Depth, Survey, survey
from shop.management import pipeline_screen

# Seconds between two looks.
WATCH_INTERVAL = 1.0
QUIET_INTERVAL = 0.25


class Command(StoreCommand):
    help = (
        "Show how much stands where in the store, for how long, and whom it waits for. The store is quiet when nothing "
        "waits for its machines or its partners. --watch shows what moves, and goes on while the database is away."
    )
    exit_codes: ClassVar = {
        0: "shown; with --wait-quiet: it is quiet",
        1: "with --wait-quiet: it is not quiet in time",
        INTERRUPTED: "--watch was ended by Ctrl-C",
    }
    examples = ("", "--watch --interval 2", "--wait-quiet 120", "--json", "--watch --json | jq .quiet")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="print it as JSON; with --watch one object on each line"
        )
        manner = parser.add_mutually_exclusive_group()
        manner.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
        manner.add_argument(
            "--wait-quiet", type=positive, metavar="SECONDS", help="wait at most so long until the store is quiet"
        )
        parser.add_argument(
            "--interval",
            type=seconds,
            default=WATCH_INTERVAL,
            metavar="SECONDS",
            help="between two looks of --watch (%(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False)
        if options["watch"]:
            try:
                _watch(console, interval=options["interval"], as_json=options["json"])
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
        patience = options["wait_quiet"]
        try:
            now = survey() if patience is None else _quiet_within(patience)
        except Error as error:
            raise CommandError(f"The database could not be read: {error}", returncode=UNUSABLE) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(now), indent=2))
        elif patience is None:
            console.print(pipeline_screen.whole(now))
        elif now.quiet:
            console.print("Quiet.")
        else:
            console.print(f"Not quiet after {patience} s. Still open:")
            console.print(pipeline_screen.depths(now.unsettled))
        if patience is not None and not now.quiet:
            sys.exit(1)


def _looks(interval: float) -> Iterator[Survey | Error]:
    """One survey, or what kept us from it, every `interval` seconds."""
    while True:
        try:
            yield survey()
        except Error as error:
            connection.close()  # the next look makes a new one
            yield error
        time.sleep(interval)


def _quiet_within(patience: float) -> Survey:
    """The first quiet survey, or the last one. A database that is away may come back in time."""
    deadline = time.monotonic() + patience
    with Console(stderr=True).status("…") as status:
        for now in _looks(QUIET_INTERVAL):
            over = time.monotonic() > deadline
            if isinstance(now, Error):
                if over:
                    raise now
                status.update(f"the database does not answer: {now}")
            elif now.quiet or over:
                return now
            else:
                status.update(", ".join(f"{each.place} {each.state}: {each.count}" for each in now.unsettled))
    raise AssertionError("looks never end")


def _watch(console: Console, *, interval: float, as_json: bool) -> None:
    """Until Ctrl-C. On a terminal one screen that changes; elsewhere a line for each look."""
    trend = pipeline_screen.Trend()
    if as_json or not console.is_terminal:
        for now in _looks(interval):
            if as_json:
                line = json.dumps({"error": str(now).strip()} if isinstance(now, Error) else _as_json(now))
            else:
                line = pipeline_screen.line(now)
            print(line, flush=True)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for now in _looks(interval):
            live.update(trend.screen(now, at=dt.datetime.now(tz=dt.UTC)), refresh=True)


def _as_json(now: Survey) -> dict[str, Any]:
    """Ages in seconds."""

    def plain(row: Depth | Any) -> dict[str, Any]:
        values = asdict(row)
        age = values.pop("age")
        return {**values, "age_seconds": None if age is None else round(age.total_seconds(), 3)}

    return {
        "quiet": now.quiet,
        "depths": [plain(each) for each in now.depths],
        "heartbeats": [{**plain(each), "late": each.late} for each in now.beats],
        "events_in_the_last_minute": now.rates,
        "warnings": now.warnings,
    }
