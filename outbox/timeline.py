"""The timeline of an order: everything that any app knows about it, in one order of time.

Each app adds a source in its `timeline` module. A source yields entries; those marked `public` are in words for
the customer, the others for whoever runs the store.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.utils.module_loading import autodiscover_modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened: `what` in a few words, `detail` for those who look closer, `who` caused it."""

    at: dt.datetime
    source: str
    what: str
    who: str = ""
    detail: str = ""
    public: bool = False


Source = Callable[[int], Iterable[Entry]]

_sources: list[Source] = []


def source(function: Source) -> Source:
    """Register a function from an order's id to its entries."""
    _sources.append(function)
    return function


def timeline(order_id: int, *, public: bool = False) -> list[Entry]:
    """All entries of an order by time; with `public` only those meant for the customer."""
    autodiscover_modules("timeline")
    entries = [entry for each in _sources for entry in each(order_id) if entry.public or not public]
    return sorted(entries, key=lambda entry: entry.at)
