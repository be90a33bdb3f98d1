"""Named places where a process may die, so that tests can make it die exactly there.

`CRASH_POINT=P5:2` in the environment kills the process with SIGKILL when it comes to P5 for the second
time. In production a crash point is one dictionary look-up.

The network must never be touched inside a transaction, so a point that stands at a network call asserts
that none is open.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable

from django.db import connection

# Name → what the process has just done, or is about to do.
POINTS: dict[str, str] = {
    "O1": "order written, not committed",
    "O2": "order committed, the acknowledgement not seen",
    "O3": "order committed, no HTTP response yet",
    "P1": "payments claimed and committed",
    "P2": "the create call is with the bank",
    "P3": "intent received, not saved",
    "P4": "intent id saved and committed",
    "P5": "the confirm call is with the bank",
    "P6": "result received, not recorded",
    "P7": "result committed, the acknowledgement not seen",
    "R1": "the log's head is locked",
    "R2": "records moved to the log, not committed",
    "D1": "events read",
    "D2": "handlers done, cursor not committed",
    "D3": "cursor committed",
    "E1": "messages claimed: `sending` is committed",
    "E2": "the mail is with the provider",
    "E3": "the provider's answer received, not recorded",
    "E4": "the message's result committed",
    "C1": "the hold released with the cancellation",
    "C2": "refund row saved and claimed",
    "C3": "the refund call is with the bank",
    "C4": "the refund recorded",
    "X1": "canceling committed",
    "X2": "the cancel call is with the bank",
    "X3": "the cancellation recorded",
    "S1": "the screening's question is with the service",
    "S2": "the screening's answer recorded",
    "W1": "a webhook's signature is verified, nothing stored",
    "W2": "a webhook is stored and its rows are nudged, not committed",
    "W3": "the webhook committed, not answered",
    "F1": "a feed's page is read, not answered",
    "F2": "a shipment is committed, not answered",
    "A1": "a person's decision and its effect written, not committed",
    "A2": "a person's decision committed, not answered",
}
# Points inside a transaction; at all others one must not be open.
INSIDE_TRANSACTION = frozenset({"O1", "R1", "R2", "D1", "D2", "W2", "A1"})

_hits: Counter[str] = Counter()
_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Call `listener` at every point (tests hand over a baton or note that the point was hit)."""
    global _listener
    _listener = listener


def crash_point(name: str) -> None:
    """Mark a boundary. Raises KeyError for a name that is not in POINTS, AssertionError when a transaction
    is open at a point that must be outside one."""
    wanted = os.environ.get("CRASH_POINT")
    if wanted is None and _listener is None:
        return
    POINTS[name]
    if name not in INSIDE_TRANSACTION and connection.in_atomic_block:
        raise AssertionError(f"a transaction is open at {name}")
    _hits[name] += 1
    if wanted is not None:
        point, _, count = wanted.partition(":")
        if point == name and _hits[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
    if _listener is not None:
        _listener(name)
