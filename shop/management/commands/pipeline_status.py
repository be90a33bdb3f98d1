import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from outbox.management.batches import positive
from outbox.pipeline import Depth, Survey, WaitsFor, survey

# Seconds between two looks.
WATCH_INTERVAL = 1.0
QUIET_INTERVAL = 0.25
# Loops beat every five seconds, the scheduler's sweep every minute: what is older is shown as a warning.
LATE = dt.timedelta(seconds=90)

_COLOURS = {WaitsFor.MACHINE: "yellow", WaitsFor.PERSON: "red"}


class Command(BaseCommand):
    help = "Show how much stands where in the store, for how long, and whom it waits for."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
        parser.add_argument(
            "--wait-quiet",
            type=positive,
            metavar="SECONDS",
            help="wait until nothing waits for a machine any more; exit status 1 if that takes longer",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False)
        if options["watch"]:
            _watch(console)
            return
        try:
            seconds = options["wait_quiet"]
            now = survey() if seconds is None else _quiet_within(seconds)
        except Error as error:
            raise CommandError(f"The database could not be read: {error}", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(now), indent=2))
        elif seconds is None:
            console.print(_tables(now))
        elif now.quiet:
            console.print("Quiet.")
        else:
            console.print(f"Not quiet after {seconds} s. Still open:")
            console.print(_depths(now.unsettled))
        if seconds is not None and not now.quiet:
            sys.exit(1)


def _quiet_within(seconds: float) -> Survey:
    """The first quiet survey, or the last one. A database that is away may come back in time."""
    deadline = time.monotonic() + seconds
    with Console(stderr=True).status("…") as status:
        while True:
            try:
                now = survey()
            except Error as error:
                if time.monotonic() > deadline:
                    raise
                status.update(f"the database does not answer: {error}")
            else:
                if now.quiet or time.monotonic() > deadline:
                    return now
                status.update(", ".join(f"{each.place} {each.state}: {each.count}" for each in now.unsettled))
            time.sleep(QUIET_INTERVAL)


def _watch(console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                try:
                    live.update(_tables(survey()), refresh=True)
                except Error as error:
                    live.update(f"The database does not answer: {error}", refresh=True)
                time.sleep(WATCH_INTERVAL)
        except KeyboardInterrupt:
            return


def _tables(now: Survey) -> Group:
    beats = Table(title="loops", title_justify="left", box=None)
    for column in ("loop", "process", "last beat", "handled", "error"):
        beats.add_column(column, justify="right" if column in ("last beat", "handled") else "left")
    for beat in now.beats:
        style = "red" if beat.age > LATE or beat.error else ""
        beats.add_row(beat.loop, beat.process, _age(beat.age), str(beat.handled), beat.error, style=style)
    rates = ", ".join(f"{count} {name}" for name, count in now.rates.items()) or "no events"
    return Group(_depths(now.depths), "", beats, "", f"in the last minute: {rates}")


def _depths(depths: Sequence[Depth]) -> Table:
    table = Table(box=None)
    for column in ("place", "state", "count", "oldest", "waits for"):
        table.add_column(column, justify="right" if column in ("count", "oldest") else "left")
    for depth in depths:
        count = f"{depth.count}{'+' if depth.capped else ''}"
        age = "" if depth.age is None else _age(depth.age)
        style = _COLOURS.get(depth.waits_for, "") if depth.count else "dim"
        table.add_row(depth.place, depth.state, count, age, depth.waits_for, style=style)
    return table


def _age(age: dt.timedelta) -> str:
    """12.3 s, 4:05 min, 3:20 h, 5 days."""
    seconds = max(age.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    if seconds < 86400:
        return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
    return f"{seconds // 86400:.0f} days"


def _as_json(now: Survey) -> dict[str, Any]:
    """Ages in seconds."""

    def plain(row: Depth | Any) -> dict[str, Any]:
        values = asdict(row)
        age = values.pop("age")
        return {**values, "age_seconds": None if age is None else round(age.total_seconds(), 3)}

    return {
        "quiet": now.quiet,
        "depths": [plain(each) for each in now.depths],
        "heartbeats": [plain(each) for each in now.beats],
        "events_in_the_last_minute": now.rates,
    }
