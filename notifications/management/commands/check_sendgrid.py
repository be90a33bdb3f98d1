import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.models import Max
from django.urls import reverse

from notifications import mailers
from notifications.catalogue import MAILS
from notifications.models import MailEvent
from outbox.going_live import Statement
from outbox.management.examinations import ExaminationCommand


class Command(ExaminationCommand):
    help = (
        "Say what is right and wrong about the store's account at SendGrid: the key and what it may do, the sender, "
        "the signed event webhook, the templates, the clock. It only asks: no mail is sent."
    )
    examples = ("", "--json")
    provider = "SendGrid"

    def examine(self, **options: Any) -> Iterator[Statement]:
        return mailers.examine(
            webhook_url=f"{settings.STORE_ADDRESS}{reverse('webhook-sendgrid')}",
            last_webhook=_last_event(),
            templates={mail.template for mail in MAILS.values()},
        )


def _last_event() -> dt.datetime | None:
    """When one about a mail of ours last came; None too where there is no database yet."""
    try:
        last: dt.datetime | None = MailEvent.objects.aggregate(last=Max("received_at"))["last"]
    except Error:
        return None
    return last
