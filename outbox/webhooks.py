"""What every webhook that comes in has in common: who may speak, how long, and what is answered.

A webhook is stored once and nudges what it is about; it never writes a state
(docs/decisions/0007-webhooks-only-nudge.md). Anything but a 2xx makes its sender try again later.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders, UnreadablePostError

from outbox.crash_points import crash_point

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How far ahead of ours the sender's clock may be. More is a wrong clock, or a signature made to be kept for later.
AHEAD = dt.timedelta(minutes=5)


class Refused(Exception):
    """The request is answered with `status` and leaves no trace but a line in the log; the message says why."""

    status = 403


class NotGenuine(Refused):
    """Not, or not lately, signed by whom it claims to be from; or from the other mode of the account."""


class Malformed(Refused):
    """Genuine, or never arrived in full, and not what was agreed."""

    status = 400


class TooLarge(Refused):
    status = 413


class NotConfigured(Refused):
    """We lack the key to check it with: no fault of the sender, who may try again."""

    status = 503


def check_age(signed_at: int, *, within: dt.timedelta) -> None:
    """Raise NotGenuine unless it was signed at most `within` ago, and not in the future (seconds since 1970)."""
    age = dt.timedelta(seconds=time.time() - signed_at) if abs(signed_at) < 2**40 else dt.timedelta.max
    if not -AHEAD <= age <= within:
        raise NotGenuine(f"signed {age} ago, as this machine's clock has it: an old request again, or a wrong clock")


def answer(
    request: HttpRequest,
    *,
    key_setting: str,
    longest: int,
    read: Callable[[bytes, HttpHeaders], T],
    store: Callable[[T], None],
) -> HttpResponse:
    """`read` verifies a body of at most `longest` bytes, or raises Refused; `store` keeps what it says.

    Without the setting named `key_setting` nothing can be verified, and nothing is read.
    """
    try:
        if not getattr(settings, key_setting):
            raise NotConfigured(f"{key_setting} is not set")
        said = read(_body(request, longest), request.headers)
    except Refused as refused:
        level = logging.CRITICAL if isinstance(refused, NotConfigured) else logging.WARNING
        status, reason = refused.status, str(refused)
        logger.log(level, "action=webhook_refused path=%s status=%s reason=%r", request.path, status, reason)
        return HttpResponse(status=status)
    crash_point("W1")
    store(said)
    crash_point("W3")
    return HttpResponse()


def _body(request: HttpRequest, longest: int) -> bytes:
    """Never more than one byte above the limit is read, whatever the request's headers promise."""
    try:
        body: bytes = request.read(longest + 1)
    except UnreadablePostError:
        raise Malformed("the body did not arrive") from None
    if len(body) > longest:
        raise TooLarge(f"more than {longest} bytes")
    return body
