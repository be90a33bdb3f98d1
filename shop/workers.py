"""The shop's own loops: the clock of the holds, and the slow check of orders by a service outside."""

from outbox import registry
from shop.decisions import expire_holds
from shop.models import Screening
from shop.screening_worker import make_engine

registry.loop("holds", group="outbox", make=lambda: registry.Batches(expire_holds))
registry.loop(Screening.BELL, group="outbox", make=make_engine)
