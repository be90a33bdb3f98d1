"""Adapters of the mail provider; `make` builds the configured one."""

import datetime as dt
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from django.conf import settings
from django.http.request import HttpHeaders

from notifications.mailers.base import Mailer, MailNotice
from outbox.going_live import Statement

if TYPE_CHECKING:
    from notifications.mailers.sendgrid import SendGridMailer


def make(*, connections: int) -> Mailer:
    """The configured mailer, for up to `connections` calls at once."""
    return _sendgrid(connections=connections)


def _sendgrid(*, connections: int) -> "SendGridMailer":
    from notifications.mailers.sendgrid import SendGridMailer  # the SDK takes a while to import: only workers need it

    return SendGridMailer(
        api_key=settings.SENDGRID_API_KEY,
        api_base=settings.SENDGRID_API_BASE,
        sender=settings.MAIL_FROM,
        sender_name=settings.STORE_NAME,
        templates=settings.SENDGRID_TEMPLATES,
        timeout=settings.MAIL_TIMEOUT,
        connections=connections,
    )


def read_webhook(body: bytes, headers: HttpHeaders) -> list[MailNotice]:
    """What a webhook of the mail provider says. Raises outbox.webhooks.Refused."""
    from notifications.mailers import sendgrid

    return sendgrid.read_webhook(body, headers, public_key=settings.SENDGRID_WEBHOOK_PUBLIC_KEY)


def examine(*, webhook_url: str, last_webhook: dt.datetime | None, templates: Collection[str]) -> Iterator[Statement]:
    """What is right and wrong about our account at the mail provider; `templates` are the names of our mails."""
    from notifications.mailers import sendgrid, sendgrid_account

    ours = sendgrid_account.Configured(
        api_key=settings.SENDGRID_API_KEY,
        sender=settings.MAIL_FROM,
        public_key=settings.SENDGRID_WEBHOOK_PUBLIC_KEY,
        public_key_problem=sendgrid.public_key_problem(settings.SENDGRID_WEBHOOK_PUBLIC_KEY),
        webhook_url=webhook_url,
        chosen_templates=settings.SENDGRID_TEMPLATES,
        known_templates=templates,
        last_webhook=last_webhook,
    )
    return sendgrid_account.examine(ours, connect=lambda: _sendgrid(connections=1))
