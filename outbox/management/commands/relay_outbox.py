from typing import Any

from outbox.management.batches import BatchCommand
from outbox.publisher import RELAY
from outbox.relay import BATCH, relay_once


class Command(BatchCommand):
    help = "Move staged outbox records into the log, where handlers read them. Any number may run; one works at a time."
    batch = BATCH
    items = "events relayed"
    bell = RELAY

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        return relay_once(limit=batch)
