"""Bearer tokens of the feeds' readers: shown once, kept as hashes, each good for one feed.

A token is `<number>.<secret>`: the number finds the row, the secret is compared in constant time.
"""

import datetime as dt
import hashlib
import re
import secrets

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from outbox import decisions
from outbox.feeds import declared
from outbox.models import FeedToken

# 256 bits, which make 43 characters.
_SECRET_BYTES = 32
_TOKEN = re.compile(r"(\d{1,18})\.([A-Za-z0-9_-]{43})", re.ASCII)
# A reader asks several times a second; its row need not change each time.
USED_PRECISION = dt.timedelta(minutes=1)


class NameTaken(ValueError):
    """A live token of that feed has the name."""


# Who decides where nobody says so: whoever may type commands.
COMMAND, TYPED = "command", "typed as a command"


def create(*, feed: str, name: str, replace: bool = False, actor: str = COMMAND, reason: str = TYPED) -> str:
    """Make a token and return it: nobody can read it again.

    With `replace` a live token of the same name is revoked in the same step. Raises outbox.feeds.UnknownFeed or
    NameTaken.
    """
    declared(feed)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    try:
        with transaction.atomic():
            if replace:
                revoke(feed=feed, name=name, actor=actor, reason=reason)
            token = FeedToken.objects.create(feed=feed, name=name, digest=_digest(secret))
            decisions.record(kind="create", about=token, actor=actor, reason=reason, before="none", after="live")
    except IntegrityError as error:
        raise NameTaken(f"{feed} has a token called {name!r}: revoke it first, or choose another name.") from error
    return f"{token.pk}.{secret}"


def revoke(*, feed: str, name: str, actor: str = COMMAND, reason: str = TYPED) -> bool:
    """End the live token of that name at once; False when there is none."""
    with transaction.atomic():
        live = FeedToken.objects.select_for_update(no_key=True).filter(feed=feed, name=name, revoked_at__isnull=True)
        token = live.first()
        if token is None:
            return False
        FeedToken.objects.filter(pk=token.pk).update(revoked_at=Now())
        decisions.record(kind="revoke", about=token, actor=actor, reason=reason, before="live", after="revoked")
    return True


def authenticate(token: str) -> FeedToken | None:
    """The live row of a token, or None. Notes, to the minute, that it was used."""
    matched = _TOKEN.fullmatch(token)
    if matched is None:
        return None
    row = FeedToken.objects.filter(pk=int(matched[1]), revoked_at__isnull=True).first()
    if row is None or not constant_time_compare(row.digest, _digest(matched[2])):
        return None
    if row.last_used_at is None or timezone.now() - row.last_used_at > USED_PRECISION:
        FeedToken.objects.filter(pk=row.pk).update(last_used_at=Now())
    return row


def attached_feeds() -> frozenset[str]:
    """The feeds that somebody may read: those with a live token. The others wait for nobody."""
    live = FeedToken.objects.filter(revoked_at__isnull=True)
    return frozenset(live.values_list("feed", flat=True).distinct())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
