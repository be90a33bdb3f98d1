"""The timeline of an order: everything that any app knows about it, in one order of time.

Each app adds a source in its `timeline` module. A source yields entries; those marked `public` are in words for
the customer, the others for whoever runs the store. A source that never has a word for customers is not asked for
their page, which they look at over and over.
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

_for_customers: list[Source] = []
_internal: list[Source] = []


def source(function: Source) -> Source:
    """Register a function from an order's id to its entries, none of them public."""
    _internal.append(function)
    return function


def source_for_customers(function: Source) -> Source:
    """The same for one whose entries may be public."""
    _for_customers.append(function)
    return function


def timeline(order_id: int, *, public: bool = False) -> list[Entry]:
    """All entries of an order by time; with `public` only those meant for the customer."""
    autodiscover_modules("timeline")
    asked = _for_customers if public else [*_for_customers, *_internal]
    entries = [entry for each in asked for entry in each(order_id) if entry.public or not public]
    return sorted(entries, key=lambda entry: entry.at)
