"""Where a worker begins to look for due rows while it works off a backlog.

Rows that were claimed stay in the index of what is due as dead entries, until no transaction is left that might still
see them as they were. Beside one that stands open for long, each look from the beginning walks over all of these.
"""

import datetime as dt
import time

# Seconds between two looks from the beginning, however much is due behind the horizon.
EVERY = 1.0


class Horizon:
    """What one worker remembers: a moment ago, nothing older was due than the oldest row that it claimed then.

    Only order and time depend on it. A row that becomes due behind the horizon (its transaction committed late, or it
    went back) is found as soon as there is less in front than was asked for, and within EVERY seconds at the latest.
    """

    def __init__(self) -> None:
        self._since: dt.datetime | None = None
        self._began_at = 0.0  # monotonic: the last look from the beginning

    def since(self) -> dt.datetime | None:
        """None: from the beginning."""
        return self._since if time.monotonic() - self._began_at < EVERY else None

    def looked(self, since: dt.datetime | None, *, oldest: dt.datetime | None) -> None:
        """From there, and that was the oldest row; None where fewer were due than were asked for."""
        self._since = oldest
        if since is None:
            self._began_at = time.monotonic()
