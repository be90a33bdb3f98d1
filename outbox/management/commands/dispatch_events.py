import argparse
from typing import Any

from django.core.management.base import CommandParser

from outbox import registry
from outbox.dispatcher import BATCH, dispatch_once
from outbox.management.batches import BatchCommand
from outbox.relay import LOG


class Command(BatchCommand):
    help = (
        "Feed the log to its handlers, all of them or the named subscriptions, until they have seen everything. Any "
        "number may run, beside the workers too: a cursor is moved by one at a time."
    )
    examples = ("", "order-process --limit 100", "--watch", "--json")
    batch = BATCH
    items = "events handled"
    bell = LOG

    def add_arguments(self, parser: CommandParser) -> None:
        known = ", ".join(each.name for each in registry.subscribers())
        parser.add_argument("subscription", nargs="*", type=_known, help=f"which handlers to feed (all): {known}")
        super().add_arguments(parser)

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        names = options["subscription"] or [each.name for each in registry.subscribers()]
        return sum(dispatch_once(name, limit=batch) for name in names)


def _known(name: str) -> str:
    if name not in {each.name for each in registry.subscribers()}:
        raise argparse.ArgumentTypeError(f"there is no subscription {name!r} in this build")
    return name
