import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from outbox.audit import Difference, Result, audit, checks
from outbox.management.commanding import StoreCommand
from shop import warehouse_books

# Differences of one check that the table shows; --json has all.
SHOWN = 20


class Command(StoreCommand):
    help = (
        "Check the books, read-only: the database against itself, the bank and the mail provider. While orders are "
        "under way use --live; everything holds once `pipeline_status --wait-quiet` says so. What a person was asked "
        "about, or has decided, is listed and is no difference."
    )
    exit_codes: ClassVar = {
        0: "nothing differs, apart from what persons were asked about or have decided",
        1: "something differs",
        2: "a source could not be read, or wrong arguments",
    }
    examples = ("", "--live --json", "--invariant S1 Q5")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print everything as JSON")
        parser.add_argument(
            "--live",
            action="store_true",
            help="only what holds at any moment (S…): for while work is under way",
        )
        parser.add_argument("--invariant", nargs="+", metavar="NAME", default=[], help="only these, such as S1 Q5")
        parser.add_argument(
            "--warehouse-file", type=Path, metavar="FILE", help="what simulate_warehouse has written: compare it too"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Notes of progress go to stderr: they are no part of what a script reads.
        progress = Console(stderr=True)
        try:
            selected = checks(invariants=options["invariant"], always_only=options["live"])
            with progress.status("…") as status, warehouse_books.compared_with(options["warehouse_file"]):
                results = audit(selected, starting=status.update)
        except LookupError as error:
            raise CommandError(str(error.args[0]), returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(results), indent=2))
        else:
            _show(Console(highlight=False), results, live=options["live"])
        if any(result.unreadable for result in results):
            sys.exit(2)
        if any(result.differences for result in results):
            sys.exit(1)


def _as_json(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "differences": sum(len(result.differences) for result in results),
        "unreadable": sorted({result.unreadable for result in results if result.unreadable}),
        "checks": [
            {
                "invariant": result.check.invariant,
                "claim": result.check.claim,
                "seconds": round(result.seconds, 3),
                "unreadable": result.unreadable,
                "remarks": [remark.text for remark in result.remarks],
                "differences": [asdict(difference) for difference in result.differences],
                "excused": [asdict(excused) for excused in result.excused],
            }
            for result in results
        ],
    }


def _show(console: Console, results: Sequence[Result], *, live: bool) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("claim")
    table.add_column("result", no_wrap=True)
    table.add_column("s", justify="right")
    for result in results:
        table.add_row(result.check.invariant, result.check.claim, _verdict(result), f"{result.seconds:.1f}")
    console.print(table)
    for result in results:
        for each in result.differences[:SHOWN]:
            console.print(f"[red]{result.check.invariant}[/] {_line(each)}", soft_wrap=True)
        _shorten(console, result.differences)
        for each in result.excused[:SHOWN]:
            console.print(f"[yellow]{result.check.invariant}[/] {_line(each)}. {escape(each.because)}", soft_wrap=True)
        _shorten(console, result.excused)
    for text in dict.fromkeys(remark.text for result in results for remark in result.remarks):
        console.print(f"Note: {text}")
    for reason in dict.fromkeys(result.unreadable for result in results if result.unreadable):
        console.print(f"[red]{reason}")
    if not live and any(result.differences and not result.check.always for result in results):
        console.print("Q… hold only when the store is quiet: see pipeline_status --wait-quiet, or use --live.")


def _line(each: Difference) -> str:
    order = f"order {each.order}: " if each.order else ""
    return escape(f"{order}{each.what}: expected {each.expected}, found {each.found}")


def _shorten(console: Console, found: Sequence[Difference]) -> None:
    if len(found) > SHOWN:
        console.print(f"… and {len(found) - SHOWN} more: --json lists all.")


def _verdict(result: Result) -> str:
    if result.unreadable:
        return "[red]not read"
    if result.differences:
        return f"[red]{len(result.differences)} differ"
    return f"[yellow]{len(result.excused)} with a person" if result.excused else "[green]holds"
