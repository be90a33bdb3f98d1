"""The outbox's own loops: the relay, and one for each subscription."""

from functools import partial

from outbox import registry
from outbox.dispatcher import dispatch_once
from outbox.publisher import RELAY
from outbox.relay import BATCH, bell, relay_once

# Everybody waits for the relay: it does not look again while the readers whom it has woken begin.
registry.loop(
    RELAY,
    group="outbox",
    make=lambda: registry.Batches(relay_once),
    idle_seconds=registry.FIRST,
    full=BATCH,
)
for _subscriber in registry.subscribers():
    registry.loop(
        bell(_subscriber.name),
        group="outbox",
        make=partial(registry.Batches, partial(dispatch_once, _subscriber.name)),
    )
