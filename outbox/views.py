"""The feeds over HTTP."""

from typing import Annotated

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse

from outbox import feeds
from outbox.crash_points import crash_point
from outbox.partner_api import Problem, body_of, partner_view

# Beyond every position: PostgreSQL's bigint.
_LARGEST = 2**63 - 1
# Seconds between two questions whether an operator has resumed the feed.
PAUSED_RETRY = 30


class _Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    through: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]


@partner_view("GET")
def page(request: HttpRequest, *, name: str, partner: str) -> HttpResponse:
    """`{after, through, events}`: the feed's next events above `after`, or above its cursor."""
    after = _number(request, "after", least=0, most=_LARGEST)
    limit = _number(request, "limit", least=1, most=feeds.LARGEST_PAGE)
    try:
        found = feeds.read(name=name, after=after, limit=limit or feeds.PAGE)
    except feeds.UnknownFeed as error:
        raise Problem(404, "unknown_feed", str(error)) from error
    except feeds.FeedPaused as error:
        raise Problem(503, "paused", str(error), headers={"Retry-After": str(PAUSED_RETRY)}) from error
    except feeds.Purged as error:
        raise Problem(410, "purged", str(error)) from error
    except feeds.AheadOfLog as error:
        raise Problem(409, "ahead_of_log", str(error)) from error
    crash_point("F1")
    return JsonResponse(
        {"after": found.after, "through": found.through, "events": [feeds.cloud_event(each) for each in found.events]}
    )


@partner_view("POST")
def acknowledge(request: HttpRequest, *, name: str, partner: str) -> HttpResponse:
    """`{"through": n}`: everything up to there is kept by the reader and need not be kept for it here."""
    through = body_of(request, _Acknowledgement).through
    try:
        feeds.acknowledge(name=name, through=through)
    except feeds.UnknownFeed as error:
        raise Problem(404, "unknown_feed", str(error)) from error
    except feeds.AlreadyAcknowledged as error:
        raise Problem(409, "already_acknowledged", str(error)) from error
    except feeds.AheadOfLog as error:
        raise Problem(409, "ahead_of_log", str(error)) from error
    crash_point("F3")
    return JsonResponse({"through": through})


def _number(request: HttpRequest, parameter: str, *, least: int, most: int) -> int | None:
    """A whole number from the query; None when it is absent. Raises Problem."""
    text = request.GET.get(parameter)
    if text is None:
        return None
    # A number of more digits than the largest is not even read.
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) else -1
    if not least <= number <= most:
        raise Problem(400, "invalid_query", f"`{parameter}` is a whole number from {least} to {most}.")
    return number
