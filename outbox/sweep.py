"""The sweep: every loop's `run_once` in turn, until nothing is left to do.

The scheduler runs it, so that the store makes progress even with no worker running. Rows are claimed and
cursors locked as everywhere, so it may run beside any number of workers.
"""

import logging
import time

from outbox import registry
from outbox.doorbell import Woken
from outbox.loops import beat
from outbox.pipeline import SWEEP
from outbox.worker import Engine

logger = logging.getLogger(__name__)

# Seconds: below a minute, so that two scheduled sweeps seldom overlap (it would do no harm).
BUDGET = 50.0


def sweep(*, seconds: float = BUDGET) -> int:
    """Run until a whole round moves nothing, or `seconds` are over; return how many items were moved.

    A loop that fails is logged and left out of this sweep; the others go on.
    """
    beat(SWEEP)
    deadline = time.monotonic() + seconds
    works = {spec.name: spec.make() for spec in registry.loops()}
    total = 0
    try:
        moved = -1
        while moved and time.monotonic() < deadline:
            moved = 0
            for name, work in list(works.items()):
                try:
                    if isinstance(work, Engine):
                        moved += work.run_until_idle(seconds=max(0.0, deadline - time.monotonic()))
                    else:
                        moved += work.run_once(woken=Woken.BY_OTHERS)
                except Exception:
                    logger.exception("action=sweep_failed loop=%s", name)
                    works.pop(name).close()
            total += moved
    finally:
        for work in works.values():
            work.close()
    return total
