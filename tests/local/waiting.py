"""Waiting for what happens in other processes."""

import time
from collections.abc import Callable

PATIENCE = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Raises AssertionError after half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
