"""The loops that talk to the bank."""

from outbox import registry
from payments import bank_events, breaker, dispute_worker, refund_worker, worker
from payments.models import Dispute, Payment, Refund

registry.loop(Payment.BELL, group="payments", make=worker.make_engine)
registry.loop(Refund.BELL, group="payments", make=refund_worker.make_engine)
registry.loop(Dispute.BELL, group="payments", make=dispute_worker.make_engine, idle_seconds=registry.UNHURRIED)
registry.loop(
    bank_events.LOOP,
    group="payments",
    make=lambda: registry.Batches(bank_events.apply_events),
    idle_seconds=registry.UNHURRIED,
)
registry.loop(
    breaker.LOOP,
    group="payments",
    make=lambda: registry.Batches(breaker.Prober().probe),
    idle_seconds=registry.UNHURRIED,
)
