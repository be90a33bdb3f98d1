import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from rich.console import Console

from outbox.management.commanding import UNUSABLE, StoreCommand
from outbox.tables import csv_lines
from payments.unsettled import HEADER, unsettled

# Rows between two words of progress.
EVERY = 500


class Command(StoreCommand):
    help = (
        "Write every payment and refund that is not settled as CSV, with all that a telephone call to the bank needs: "
        "our ids and the bank's, amount, status, age, its last answer, why a row is blocked and who asked. Amounts are "
        "in minor units and as people write them, times are UTC, the age is in hours. No names or addresses."
    )
    exit_codes: ClassVar = {0: "written, be it without any row", 1: "the file could not be written"}
    examples = ("--output unsettled.csv", "| column -s, -t | less -S")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write there and not to the terminal; it appears only when it is complete, and replaces an older one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path | None = options["output"]
        if file is None:
            for line in csv_lines(HEADER, unsettled(now=dt.datetime.now(tz=dt.UTC))):
                self.stdout.write(line, ending="")
            return
        if not file.absolute().parent.is_dir():
            raise CommandError(f"There is no folder {file.absolute().parent}.", returncode=UNUSABLE)
        try:
            rows = _replace(file, csv_lines(HEADER, _counted(unsettled(now=dt.datetime.now(tz=dt.UTC)))))
        except OSError as error:
            raise CommandError(f"{file} could not be written: {error}") from error
        self.stderr.write(f"{rows} unsettled payments and refunds are in {file}.")


def _counted(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    with Console(stderr=True).status("0 rows") as progress:
        for number, row in enumerate(rows, start=1):
            if number % EVERY == 0:
                progress.update(f"{number} rows")
            yield row


def _replace(file: Path, lines: Iterator[str]) -> int:
    """Write all lines beside the file, to the disk, and only then take its place; how many rows that were."""
    number = -1  # the header is no row
    handle, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
    try:
        # With Excel's mark, or it would read € as something else; readable by nobody else, as it is about money.
        with os.fdopen(handle, "w", encoding="utf-8-sig", newline="") as beside:
            for number, line in enumerate(lines):  # noqa: B007 - counted
                beside.write(line)
            beside.flush()
            os.fsync(beside.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return number
