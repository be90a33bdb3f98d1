from typing import Any

from django.conf import settings

from notifications import mailers
from notifications.mailers.base import Mailer
from notifications.models import Message
from notifications.worker import make_engine
from outbox.management.batches import BatchCommand


class Command(BatchCommand):
    help = (
        "Send the mails that are due; a batch is what is under way at once. Any number may run, beside the workers too."
    )
    batch = settings.MAIL_IN_FLIGHT
    items = "mails tried"
    bell = Message.BELL
    _mailer: Mailer | None = None

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        self._mailer = self._mailer or mailers.make(connections=options["batch"])
        engine = make_engine(in_flight=batch, mailer=self._mailer)
        try:
            return engine.run_once()
        finally:
            engine.close()  # waits for the calls and stores their answers
