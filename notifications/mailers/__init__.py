"""Adapters of the mail provider; `make` builds the configured one."""

from django.conf import settings
from django.http.request import HttpHeaders

from notifications.mailers.base import Mailer, MailNotice


def make(*, connections: int) -> Mailer:
    """The configured mailer, for up to `connections` calls at once."""
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
