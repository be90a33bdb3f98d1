"""Limits on tries: counters over fixed windows of time, in the database, so that all web servers count together.

Cards above all: whoever has stolen numbers tries them out where nobody counts. Sources are kept as keyed digests, and
only until their window is over.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

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

# A counter that a crash forgets does no harm, and one shared by everybody must not wait for the disk: the commit of a
# transaction that has counted does not.
_COUNT = b"""
    INSERT INTO shop_trycount AS counted (source, ends_at, tries)
    SELECT source, ends_at, 1
    FROM unnest(%(sources)s::text[], %(ends)s::timestamptz[]) AS given (source, ends_at)
    ON CONFLICT (source, ends_at) DO UPDATE SET tries = counted.tries + 1
    WHERE counted.tries < (
        SELECT most FROM unnest(%(sources)s::text[], %(most)s::int[]) AS allowed (source, most)
        WHERE allowed.source = counted.source
    )
    RETURNING source, set_config('synchronous_commit', 'off', true)
"""


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
    if not active:
        return
    ends = {limit.source: limit.ends_at(now) for limit in active}
    given = {
        "sources": list(ends),
        "ends": [end.isoformat() for end in ends.values()],
        "most": [str(limit.most) for limit in active],
    }
    with transaction.atomic():
        counted = {source for source, _ in prepared.run(_COUNT, given)}
        full = [end for source, end in ends.items() if source not in counted]
        if full:
            raise TooManyTries(max(1, round((max(full) - now).total_seconds())))


def take_card_try(request: HttpRequest, *, now: dt.datetime) -> None:
    """Count a card that is about to be given to the bank. Raises TooManyTries."""
    session = request.session.session_key
    take(
        Limit(what="address", who=client_address(request), most=settings.CARD_TRIES_PER_ADDRESS, seconds=HOUR),
        *(_session(session) if session else ()),
        Limit(what="all", who="", most=settings.CARD_TRIES_GLOBAL, seconds=MINUTE),
        now=now,
    )


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
