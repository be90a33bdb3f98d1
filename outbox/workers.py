"""The outbox's own loops: the relay, and one for each subscription."""

from functools import partial

from outbox import registry
from outbox.dispatcher import dispatch_once
from outbox.publisher import RELAY
from outbox.relay import LOG, relay_once

registry.loop(RELAY, group="outbox", make=lambda: registry.Batches(relay_once))
for _subscriber in registry.subscribers():
    # Ringing LOG wakes every loop whose name begins with it.
    registry.loop(
        f"{LOG}.{_subscriber.name}",
        group="outbox",
        make=partial(registry.Batches, partial(dispatch_once, _subscriber.name)),
    )
