"""The mails' part of an order's timeline."""

from collections.abc import Iterable

from notifications.models import MailEvent, MessageAttempt
from outbox.timeline import Entry, source


@source
def calls(order_id: int) -> Iterable[Entry]:
    for attempt in MessageAttempt.objects.filter(message__order_id=order_id).select_related("message").order_by("id"):
        template = attempt.message.template
        yield Entry(at=attempt.started_at, source="mail call", what=f"send {template}", who=attempt.worker)
        if attempt.finished_at is not None:
            yield Entry(
                at=attempt.finished_at,
                source="mail answer",
                what=f"{template}: {attempt.outcome}",
                who=attempt.worker,
                detail=str(attempt.http_status or ""),
            )


@source
def events(order_id: int) -> Iterable[Entry]:
    for event in MailEvent.objects.filter(message__order_id=order_id).select_related("message").order_by("id"):
        yield Entry(
            at=event.happened_at,
            source="mail event",
            what=f"{event.message.template}: {event.kind}",
            detail=" ".join(part for part in (event.code, event.cause) if part),
        )
