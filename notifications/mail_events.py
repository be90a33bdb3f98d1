"""What the mail provider tells us: kept once, and a nudge for mails in doubt.

Every event about a mail proves that the provider had accepted it. What became of it then (bounced, dropped) is kept
to be seen; it never makes a mail be sent again.
"""

import datetime as dt
import logging
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from notifications.mailers.base import MailNotice
from notifications.models import MailEvent, Message
from outbox import claims
from outbox.crash_points import crash_point
from outbox.database import retried

logger = logging.getLogger(__name__)

Status = Message.Status

# A mail whose call is under way, or whose outcome nobody knows, can use the evidence.
_OPEN = (Status.SENDING, Status.AMBIGUOUS)
# Rows per transaction of the purge.
BATCH = 5000


@retried()
def store(notices: Sequence[MailNotice]) -> None:
    """Keep what the provider says and nudge the mails that are in doubt, in one transaction. Notices about mails
    that we do not have (of another store, or erased) are left."""
    with transaction.atomic():
        known = dict(
            Message.objects.filter(public_id__in={notice.message for notice in notices}).values_list("public_id", "pk")
        )
        MailEvent.objects.bulk_create(
            [
                MailEvent(
                    message_id=known[notice.message],
                    kind=notice.kind,
                    happened_at=notice.happened_at,
                    provider_id=notice.provider_id,
                    code=notice.code,
                    cause=notice.cause,
                )
                for notice in notices
                if notice.message in known
            ],
            ignore_conflicts=True,
        )
        _nudge(list(known.values()))
        crash_point("W2")
    strangers = {notice.message for notice in notices} - known.keys()
    if strangers:
        logger.warning("action=unknown_messages count=%s first=%s", len(strangers), next(iter(strangers)))


def _nudge(message_ids: Sequence[int]) -> None:
    """Ask for another look at those in doubt; what had been left to a person is the machine's again."""
    undecided = Message.objects.select_for_update(no_key=True).filter(pk__in=message_ids, status__in=_OPEN)
    locked = Message.objects.filter(pk__in=list(undecided.order_by("pk").values_list("pk", flat=True)))
    blocked = locked.filter(status=Status.AMBIGUOUS).exclude(blocked_reason="")
    blocked.update(blocked_reason="", due_at=Now())
    claims.nudge(locked)


def purge(*, limit: int = BATCH) -> int:
    """Delete events of settled mails that are older than the log's own retention, at most `limit`; the provider
    repeats none of them by then."""
    kept = dt.timedelta(days=settings.OUTBOX_RETENTION_DAYS)
    old = MailEvent.objects.filter(message__status__in=Message.FINAL, received_at__lt=Now() - kept).order_by("pk")
    deleted, _ = MailEvent.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()
    return deleted
