"""The mail provider as the store needs it. An adapter answers every call with a `Receipt`; it never raises for
what the provider or the network does."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Protocol

from notifications.models import Message, MessageAttempt

Outcome = MessageAttempt.Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is known about one call. `provider_id` is the provider's name for an accepted mail."""

    outcome: Outcome
    provider_id: str = ""
    http_status: int | None = None
    detail: str = ""
    retry_after: dt.timedelta | None = None
    duration: dt.timedelta = dt.timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailNotice:
    """The provider says what became of a mail. `message` is our public id, which travelled with it; `code` and
    `cause` say why, where it did not arrive."""

    message: uuid.UUID
    kind: str
    happened_at: dt.datetime
    provider_id: str = ""
    code: str = ""
    cause: str = ""


class Mailer(Protocol):
    """Any number of threads may call at once; a call blocks for at most its deadline."""

    def send(self, message: Message) -> Receipt:
        """Hand this mail to the provider, once."""
