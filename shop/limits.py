"""Limits on tries: counters over fixed windows of time, in the database, so that all web servers count together.

Cards above all: whoever has stolen numbers tries them out where nobody counts. Sources are kept as keyed digests, and
only until their window is over.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from outbox import prepared
from shop.models import TryCount

HOUR, MINUTE = 3600, 60
# Bits. Who gets one IPv6 address gets at least such a network of them (RFC 6177), and could use each once.
IPV6_SUBSCRIBER = 64

# SQL for a statement's head and tail: the limits, and how a try is counted against each; it returns those that it was
# counted against. They come as JSON: arrays, whose length PostgreSQL can see, would be planned anew each time. A
# counter that a crash forgets does no harm, and one shared by everybody must not wait for the disk: who has counted
# does not.
GIVEN = """
WITH given AS MATERIALIZED (
    SELECT * FROM ROWS FROM (json_to_recordset(%(limits)s::json) AS (source text, ends_at timestamptz, most int))
        WITH ORDINALITY AS given (source, ends_at, most, place)
)"""
COUNTED = """
ON CONFLICT (source, ends_at) DO UPDATE SET tries = counted.tries + 1
WHERE counted.tries < (SELECT most FROM given WHERE given.source = counted.source)
RETURNING source, set_config('synchronous_commit', 'off', true)
"""
_COUNT = f"""{GIVEN}
INSERT INTO shop_trycount AS counted (source, ends_at, tries) SELECT source, ends_at, 1 FROM given ORDER BY place
{COUNTED}""".encode()  # noqa: S608 - our own text


class TooManyTries(Exception):
    """Nothing was counted; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many tries: again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `most` tries by one source within a window of `seconds`; 0: no limit. `what` keeps the counters apart."""

    what: str
    who: str
    most: int
    seconds: int

    @property
    def source(self) -> str:
        return f"{self.what}:{salted_hmac('shop.limits', self.who, algorithm='sha256').hexdigest()[:32]}"

    def ends_at(self, now: dt.datetime) -> dt.datetime:
        """When the window that `now` is in is over; all servers agree on it."""
        elapsed = int(now.timestamp()) % self.seconds
        return now.replace(microsecond=0) + dt.timedelta(seconds=self.seconds - elapsed)


def take(*limits: Limit, now: dt.datetime) -> None:
    """Count one try against all of these limits, or against none and raise TooManyTries when one is used up.

    Callers name limits of one purpose in one order: the rows are locked in it.
    """
    active = [limit for limit in limits if limit.most > 0]
    if active:
        with transaction.atomic():
            _expect_all(active, prepared.run(_COUNT, parameters(active, now=now)), now=now)


def parameters(limits: Sequence[Limit], *, now: dt.datetime) -> dict[str, str]:
    """For a statement that begins with GIVEN."""
    rows = ({"source": each.source, "ends_at": each.ends_at(now), "most": each.most} for each in limits)
    return {"limits": prepared.as_json(rows)}


def _expect_all(limits: Sequence[Limit], counted: Sequence[tuple[Any, ...]], *, now: dt.datetime) -> None:
    """Raises TooManyTries unless all were counted; the sources of those that were are the first column."""
    if len(counted) == len(limits):
        return
    sources = {source for source, *_ in counted}
    ends_at = max(limit.ends_at(now) for limit in limits if limit.source not in sources)
    raise TooManyTries(max(1, round((ends_at - now).total_seconds())))


def take_card_try(request: HttpRequest, *, now: dt.datetime) -> None:
    """Count a card that is about to be given to the bank. Raises TooManyTries."""
    take(*of_cards(request), now=now)


def of_cards(request: HttpRequest) -> list[Limit]:
    """What a card is counted against."""
    session = request.session.session_key
    return [
        Limit(what="address", who=client_address(request), most=settings.CARD_TRIES_PER_ADDRESS, seconds=HOUR),
        *(_session(session) if session else ()),
        Limit(what="all", who="", most=settings.CARD_TRIES_GLOBAL, seconds=MINUTE),
    ]


def _session(key: str) -> Sequence[Limit]:
    return [Limit(what="session", who=key, most=settings.CARD_TRIES_PER_SESSION, seconds=HOUR)]


def client_address(request: HttpRequest) -> str:
    """Who is at the other end, as far as that can be known: for IPv6 the subscriber's network.

    What a header says is believed only of our own proxy, which appends the address that it saw: the last one.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    if settings.BEHIND_PROXY:
        address = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_SUBSCRIBER), strict=False))


def forget() -> int:
    """Delete the windows that are over; returns how many counters that were."""
    deleted, _ = TryCount.objects.filter(ends_at__lt=Now()).delete()
    return deleted
