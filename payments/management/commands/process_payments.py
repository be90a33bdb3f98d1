from typing import Any

from django.conf import settings

from outbox.management.batches import BatchCommand
from payments import gateways
from payments.gateways.base import Gateway
from payments.models import Payment
from payments.worker import make_engine


class Command(BatchCommand):
    help = (
        "Charge, read and cancel the payments that are due; a batch is what is under way at once. Any number may "
        "run, beside the workers too."
    )
    batch = settings.PAYMENT_IN_FLIGHT
    items = "payments tried"
    bell = Payment.BELL
    _gateway: Gateway | None = None

    def run_once(self, *, batch: int, options: dict[str, Any]) -> int:
        self._gateway = self._gateway or gateways.make(connections=options["batch"])
        engine = make_engine(in_flight=batch, gateway=self._gateway)
        try:
            return engine.run_once()
        finally:
            engine.close()  # waits for the calls and those that follow from them, and stores their answers
