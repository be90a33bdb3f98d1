"""What a person may decide about a mail that the machine must not decide about."""

import uuid
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from notifications.models import Message
from outbox import claims, decisions

Status = Message.Status


class NotUndecided(Exception):
    """The mail is not waiting for this decision; the message says how it stands."""


def resend(*, message_id: uuid.UUID, actor: str, reason: str) -> None:
    """Send a mail again that may have been sent, or that was given up; the customer may get it twice.
    `message_id` is the public id. Raises NotUndecided, or ValueError without a reason."""
    _decide(
        message_id,
        kind="resend",
        allowed=(Status.AMBIGUOUS, Status.FAILED),
        actor=actor,
        reason=reason,
        status=Status.PENDING,
        due_at=Now(),
        attempts=0,
    )
    claims.ring(Message)


def confirm(*, message_id: uuid.UUID, actor: str, reason: str) -> None:
    """Note that the provider shows this mail as sent. Raises as `resend`."""
    _decide(
        message_id,
        kind="confirm",
        allowed=(Status.AMBIGUOUS,),
        actor=actor,
        reason=reason,
        status=Status.SENT,
        due_at=None,
        sent_at=Now(),
    )


@transaction.atomic
def _decide(
    message_id: uuid.UUID,
    *,
    kind: str,
    allowed: tuple[Status, ...],
    actor: str,
    reason: str,
    **fields: Any,
) -> None:
    message = Message.objects.select_for_update(no_key=True).get(public_id=message_id)
    if message.status not in allowed:
        raise NotUndecided(f"The mail {message} is {message.get_status_display().lower()}.")
    decisions.record(
        kind=kind,
        about=message,
        story=message.order_id,
        actor=actor,
        reason=reason,
        before=message.status,
        after=fields["status"],
    )
    Message.objects.filter(pk=message.pk).update(blocked_reason="", ambiguous_at=None, **fields)
