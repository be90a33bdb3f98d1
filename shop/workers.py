"""The shop's own loops: the clock of the holds, and the slow check of orders by a service outside."""

from outbox import registry
from shop.decisions import expire_holds
from shop.models import Screening


def _screening() -> registry.Work:
    from shop.screening_worker import make_engine  # its HTTP client takes a while to import: only this loop needs it

    return make_engine()


registry.loop("holds", group="outbox", make=lambda: registry.Batches(expire_holds), idle_seconds=registry.UNHURRIED)
registry.loop(Screening.BELL, group="outbox", make=_screening)
