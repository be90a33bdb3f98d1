"""Reading the bank's lists, from the newest to the oldest: each page with a token of its own, as far as time goes."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q
from django.db.models.functions import Now

from payments import limiter
from payments.gateways.base import BankRefund, Intent, Page
from payments.models import ReconciliationCursor
from payments.reconciliation.comparing import made

Shown = TypeVar("Shown", Intent, BankRefund)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How long a run may take from `began` on (time.monotonic); `seconds` None: as long as it needs."""

    began: float
    seconds: float | None

    def over(self, share: float) -> Callable[[], bool]:
        """Whether this share of the time has passed."""

        def is_over() -> bool:
            return self.seconds is not None and time.monotonic() > self.began + self.seconds * share

        return is_over


class Reading:
    """One run's look into one list. With a limited clock it goes on where the last such run was cut off."""

    def __init__(self, listing: ReconciliationCursor.Listing, *, since: dt.datetime, clock: Clock) -> None:
        self._listing = listing
        self._since = since
        self._resumes = clock.seconds is not None
        self.until = self._stored() if self._resumes else None
        # All that is younger, up to `until`, was compared; None: nothing was.
        self._reached = self.until
        self.complete = False

    def _stored(self) -> dt.datetime | None:
        cursor = ReconciliationCursor.objects.filter(pk=self._listing, before__gt=self._since).first()
        return cursor.before if cursor else None

    def pages(self, listed: Iterator[Page[Shown]], *, over: Callable[[], bool]) -> Iterator[Sequence[Shown]]:
        """What the bank has, until the list ends or the time is over; a page counts when its caller asks for more."""
        while not self.complete:
            limiter.wait_for_one(stop=over)
            if over():
                return
            page = next(listed, None)
            if page is not None:
                yield page.items
                self._reached = made(page.items[-1])
            self.complete = page is None or not page.more

    def compared(self, moment: str) -> Q:
        """The rows that this run has compared, by the time in that field."""
        after = self._since if self.complete else self._reached
        if after is None:
            return Q(pk__in=[])
        rows = Q(**{f"{moment}__gt": after})
        return rows & Q(**{f"{moment}__lte": self.until}) if self.until else rows

    def __str__(self) -> str:
        """How far it came, for the log."""
        return "all" if self.complete else f"younger than {self._reached}" if self._reached else "none"

    def remember(self) -> None:
        """For the next run with a limited clock."""
        if self._resumes:
            before = None if self.complete else self._reached
            ReconciliationCursor.objects.update_or_create(
                listing=self._listing, defaults={"before": before, "moved_at": Now()}
            )
