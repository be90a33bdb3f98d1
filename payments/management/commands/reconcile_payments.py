import argparse
import datetime as dt
import json
import sys
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from rich.console import Console

from outbox.management.commanding import StoreCommand
from payments.models import Difference
from payments.money import display
from payments.reconciliation import reconcile
from payments.reconciliation.differences import Report

COUNTS = ("pages", "intents", "refunds", "nudged", "adopted", "resolved", "open")


def _day(text: str) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-21") from error
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _as_json(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "about": difference.about,
        "order": difference.order_id,
        "reference": difference.reference,
        "amount": difference.amount,
        "currency": difference.currency,
        "detail": difference.detail,
        "happened_at": difference.happened_at.isoformat(),
        "first_seen": difference.first_seen.isoformat(),
        "owner": difference.owner,
    }


def _so_far(report: Report) -> str:
    return f"{report.pages} pages: {report.intents} intents, {report.refunds} refunds"


class Command(StoreCommand):
    help = (
        "Compare every payment and refund at the bank with ours, and ours with the bank's. Workers are asked to look "
        "again where that may help, and ids that were lost with an older backup are found again; what stays different "
        "is kept for a person. No money moves. After restoring a backup run it before charges flow again."
    )
    exit_codes: ClassVar = {
        0: "nothing differs, or only what workers were asked to look at",
        1: "something differs and waits for a person, or the bank could not be read",
    }
    examples = ("", "--since 2026-11-01", "--json")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", type=_day, metavar="DATE", help="only what was created since (UTC); default: everything we know"
        )
        parser.add_argument("--json", action="store_true", help="print it as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        # Notes of progress go to stderr: they are no part of what a script reads.
        progress = Console(stderr=True)
        try:
            with progress.status("asking the bank …") as status:
                report = reconcile(since=options["since"], progress=lambda now: status.update(_so_far(now)))
        except ConnectionError as error:
            raise CommandError(f"{error}\nNothing was concluded; run it again.") from error
        waiting = Difference.objects.filter(resolved_at__isnull=True, healing=False).order_by("id")
        if options["json"]:
            counts = {**{name: getattr(report, name) for name in COUNTS}, "undecided": len(report.undecided)}
            self.stdout.write(json.dumps({**counts, "differences": [_as_json(each) for each in waiting]}, indent=2))
        else:
            self.stdout.write(
                f"{report.intents} intents and {report.refunds} refunds at the bank; {report.nudged} to be looked at "
                f"again, {report.adopted} ids found again, {report.resolved} differences gone."
            )
            if report.undecided:
                self.stdout.write(f"{len(report.undecided)} are in workers' hands just now: run it again in a while.")
            for each in waiting:
                amount = display(amount=each.amount, currency=each.currency)
                order = each.reference or each.order_id or "unknown"
                self.stdout.write(f"{each}, {amount}, order {order}: {each.detail}")
        if report.open:
            sys.exit(1)
