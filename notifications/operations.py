"""What people may do with mails."""

import uuid
from typing import Any

from notifications import services
from notifications.models import Message
from outbox.claim_operations import claim_operations, state
from outbox.operating import Fact, Operation, Subject, locking, register

PERMISSION = "notifications.operate_message"
Status = Message.Status


class Resend(Operation[Message]):
    """The mail is sent again as it stands. If the first one did arrive, the customer has it twice."""

    name, label, permission = "resend", "Send again", PERMISSION
    expected = (services.NotUndecided,)

    def refusal(self, row: Message, *, actor: str) -> str:
        if row.status in (Status.AMBIGUOUS, Status.FAILED):
            return ""
        return f"It is {row.get_status_display().lower()}: there is no doubt about it."

    def perform(self, row: Message, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        services.resend(message_id=row.public_id, actor=actor, reason=values["reason"])
        return "It is sent again."


class Confirm(Operation[Message]):
    """You have seen at the provider that this mail was sent: the doubt ends, and nothing is sent."""

    name, label, permission = "confirm", "It was sent", PERMISSION
    expected = (services.NotUndecided,)

    def refusal(self, row: Message, *, actor: str) -> str:
        if row.status == Status.AMBIGUOUS:
            return ""
        return f"It is {row.get_status_display().lower()}: there is no doubt about it."

    def perform(self, row: Message, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        services.confirm(message_id=row.public_id, actor=actor, reason=values["reason"])
        return "It is noted as sent."


def _facts(row: Message) -> list[Fact]:
    return [("Mail", f"{row.template.replace('_', ' ')}: {row.subject}"), ("To", row.recipient)]


register(
    Subject(
        model=Message,
        operations=[
            Resend(),
            Confirm(),
            *claim_operations(PERMISSION, story=lambda row: row.order_id, asks="the mail provider"),
        ],
        lock=locking(Message),
        state=state,
        story=lambda row: row.order_id,
        rows=lambda story: Message.objects.filter(order_id=story).order_by("id"),
        facts=_facts,
    )
)
