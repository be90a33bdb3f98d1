import json
import os
import signal
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, positive, seconds
from shop.simulation.admin_site import Login, Outcome
from shop.simulation.deciding import Decider, decide_all
from shop.simulation.operators import Habits, Operator, Shift

# The environment's name for logins, so that no list of processes shows a password.
LOGINS = "OPERATOR_LOGINS"
# Failures that the summary shows.
SHOWN = 10


class Command(StoreCommand):
    help = (
        "Let operators retry, cancel, refund, approve and resolve at random through the admin's pages, as browsers "
        "would: sometimes twice at once, late, or with an old form. It counts what came of it. With --decide they "
        "work off what waits for a person instead, until nothing does."
    )
    exit_codes: ClassVar = {
        0: "the admin always gave a proper answer, until SIGTERM or the time ended it; with --decide: nothing waits "
        "for a person",
        1: "it did not: an error, a refusal of what it had offered, a login in the middle, the same form done twice; "
        "with --decide: something still waits for somebody else",
        INTERRUPTED: "ended by Ctrl-C: everybody finished what they were at, and the result is of that",
    }
    examples = (
        "--operators 2 --seconds 60 --login olga:SECRET omar:SECRET",
        "--seconds 30 --seed 7 --json",
        "--decide",
    )
    # They are browsers: they need an address, and none of the store's services.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--operators", type=positive, default=2, metavar="N", help="so many (%(default)s)")
        parser.add_argument(
            "--seconds", type=seconds, default=60.0, metavar="S", help="how long they work (%(default)s)"
        )
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all choices (%(default)s)")
        parser.add_argument("--base-url", default=settings.STORE_ADDRESS, help="of the store (%(default)s)")
        parser.add_argument(
            "--login",
            type=_login,
            nargs="+",
            metavar="NAME:PASSWORD",
            help=f"whose accounts they use, in turn; or set {LOGINS}, with spaces between",
        )
        parser.add_argument("--decide", action="store_true", help="all of these decide what waits for a person")
        parser.add_argument(
            "--patience", type=positive, default=60, metavar="SECONDS", help="with one page (%(default)s)"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            logins = options["login"] or [_login(each) for each in os.environ.get(LOGINS, "").split()]
        except ArgumentTypeError as error:
            raise CommandError(f"{LOGINS}: {error}", returncode=UNUSABLE) from error
        if not logins:
            raise CommandError(f"Nobody can log in: give --login, or set {LOGINS}.", returncode=UNUSABLE)
        habits = Habits(base_url=options["base_url"], seed=options["seed"], patience=options["patience"])
        left, interrupted = 0, False
        if options["decide"]:
            shifts, left, interrupted = _decide(logins, habits=habits)
        else:
            people = [
                Operator(number, login=logins[(number - 1) % len(logins)], habits=habits)
                for number in range(1, options["operators"] + 1)
            ]
            shifts, interrupted = _let_work(people, seconds=options["seconds"])
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(shifts, left=left), indent=2))
        else:
            _show(Console(highlight=False), shifts, left=left)
        if left or any(shift.failures for shift in shifts):
            sys.exit(1)
        if interrupted:
            sys.exit(INTERRUPTED)


def _login(text: str) -> Login:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise ArgumentTypeError("a login is written NAME:PASSWORD")  # and not repeated: it may hold a password
    return Login(name=name, password=password)


def _let_work(people: Sequence[Operator], *, seconds: float) -> tuple[list[Shift], bool]:
    """All shifts, and whether Ctrl-C ended them early: everybody finishes the turn they are at, as after SIGTERM."""
    stop, interrupted = threading.Event(), False
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    shifts = [each.shift for each in people]
    with _progress() as bar, ThreadPoolExecutor(max_workers=len(people)) as pool:
        task = bar.add_task("", said="logging in")
        working = [
            pool.submit(each.work, stop, after_each=lambda: bar.update(task, said=_line(shifts))) for each in people
        ]
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not stop.is_set() and not all(each.done() for each in working):
                stop.wait(0.1)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.set()
            signal.signal(signal.SIGTERM, before)
    for each in working:
        each.result()
    return shifts, interrupted


def _decide(logins: Sequence[Login], *, habits: Habits) -> tuple[list[Shift], int, bool]:
    """All shifts, how many rows still wait, and whether Ctrl-C ended it."""
    deciders = [Decider(number, login=login, habits=habits) for number, login in enumerate(logins, start=1)]
    shifts, interrupted = [each.shift for each in deciders], False
    with _progress() as bar:
        task = bar.add_task("", said="looking for what waits")
        try:
            decide_all(deciders, after_each=lambda: bar.update(task, said=_line(shifts)))
        except KeyboardInterrupt:
            interrupted = True
    return shifts, min(each.left for each in deciders), interrupted


def _progress() -> Progress:
    columns = (TextColumn("operators"), SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.fields[said]}"))
    return Progress(*columns, console=Console(stderr=True))


def _totals(shifts: Sequence[Shift]) -> Counter[Outcome]:
    return Counter(
        {
            outcome: sum(n for shift in shifts for (_, each), n in shift.outcomes.items() if each is outcome)
            for outcome in Outcome
        }
    )


def _line(shifts: Sequence[Shift]) -> str:
    failures = sum(len(shift.failures) for shift in shifts)
    counts = [f"{count} {outcome}" for outcome, count in _totals(shifts).items() if count]
    return ", ".join([*counts, *([f"{failures} failures"] if failures else [])])


def _operations(shifts: Sequence[Shift]) -> dict[str, Counter[Outcome]]:
    found: dict[str, Counter[Outcome]] = {}
    for shift in shifts:
        for (operation, outcome), count in shift.outcomes.items():
            found.setdefault(operation, Counter())[outcome] += count
    return dict(sorted(found.items()))


def _as_json(shifts: Sequence[Shift], *, left: int) -> dict[str, Any]:
    totals = _totals(shifts)
    return {
        **{outcome.value: totals[outcome] for outcome in Outcome},
        "rows looked at": sum(shift.rows for shift in shifts),
        "retries": sum(shift.retries for shift in shifts),
        "still waiting": left,
        "failures": [f"{shift.login}: {each}" for shift in shifts for each in shift.failures],
        "operations": {
            name: {outcome.value: count for outcome, count in counts.items()}
            for name, counts in _operations(shifts).items()
        },
    }


def _show(console: Console, shifts: Sequence[Shift], *, left: int) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("operation")
    for outcome in Outcome:
        table.add_column(outcome.value, justify="right")
    rows = {**_operations(shifts), "all": _totals(shifts)}
    for name, counts in rows.items():
        table.add_row(name, *(str(counts[outcome] or "–") for outcome in Outcome))
    console.print(table)
    retries = sum(shift.retries for shift in shifts)
    console.print(f"{sum(shift.rows for shift in shifts)} rows looked at, {retries} pages asked for again.")
    if left:
        console.print(f"{left} still wait, and nobody here may decide about them.")
    failures = [f"{shift.login}: {each}" for shift in shifts for each in shift.failures]
    for each in failures[:SHOWN]:
        console.print(f"failure of {each}", markup=False, soft_wrap=True)
    if len(failures) > SHOWN:
        console.print(f"… and {len(failures) - SHOWN} more failures: --json has all.")
