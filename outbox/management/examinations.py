"""The shape of the commands that check our account at a provider: statements on the terminal or as JSON."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from rich.console import Console
from rich.table import Table

from outbox.going_live import Statement, Verdict, exit_status
from outbox.management.commanding import StoreCommand

_SIGNS = {
    Verdict.RIGHT: "[green]right[/]",
    Verdict.WRONG: "[bold red]WRONG[/]",
    Verdict.UNASKED: "[bold yellow]not asked[/]",
    Verdict.NOTE: "[dim]note[/]",
}


class ExaminationCommand(StoreCommand):
    """Prints what `examine` yields as it comes and ends with a status that says whether all is right."""

    # It says itself what is missing, and more about it than the system checks do.
    requires_system_checks = []
    exit_codes: ClassVar = {
        0: "all is right",
        1: "something is wrong",
        2: "the provider could not be asked about something, and nothing else is wrong",
    }
    provider = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")

    def examine(self, **options: Any) -> Iterator[Statement]:
        """All findings, given the command's options."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        found: list[Statement] = []
        with Console(stderr=True).status(f"asking {self.provider} …"):
            found.extend(self.examine(**options))
        status = exit_status(found)
        if options["json"]:
            self.stdout.write(
                json.dumps({"status": status, "findings": [asdict(each) for each in found]}, indent=2, default=str)
            )
        else:
            _show(found)
        if status:
            sys.exit(status)


def _show(found: list[Statement]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for each in found:
        todo = f"\n[italic]{_plain(each.todo)}[/]" if each.todo else ""
        table.add_row(_SIGNS[each.verdict], each.about, f"{_plain(each.says)}{todo}")
    console.print(table)
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in Verdict}
    console.print(
        f"\n{counts[Verdict.RIGHT]} right, {counts[Verdict.WRONG]} wrong, {counts[Verdict.UNASKED]} not asked, "
        f"{counts[Verdict.NOTE]} to note."
    )


def _plain(text: str) -> str:
    """A provider's words may hold what rich takes for its markup."""
    return text.replace("[", r"\[")
