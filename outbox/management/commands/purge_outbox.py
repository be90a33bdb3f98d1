import datetime as dt
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from outbox.management.batches import BatchCommand
from outbox.management.commanding import positive
from outbox.purging import BATCH, purge_once


class Command(BatchCommand):
    help = (
        "Delete events from the beginning of the log that every subscription has handled and that are older than the "
        "retention. Undelivered ones are never deleted. The scheduler does this every night."
    )
    examples = ("", "--days 30")
    batch = BATCH
    items = "events purged"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--days",
            type=positive,
            default=settings.OUTBOX_RETENTION_DAYS,
            metavar="N",
            help="keep what is younger than so many days (%(default)s)",
        )

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        return purge_once(retention=dt.timedelta(days=options["days"]), limit=batch)
