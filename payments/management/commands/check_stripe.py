import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import Error
from django.db.models import Max
from django.urls import reverse

from outbox.going_live import Statement
from outbox.management.examinations import ExaminationCommand
from payments import gateways
from payments.models import BankEvent


class Command(ExaminationCommand):
    help = (
        "Say what is right and wrong about the store's account at Stripe: keys and their mode and permissions, webhook "
        "endpoint and signing secret, currency, API version, clock. It only asks: no money moves, nothing is created."
    )
    examples = ("", "--expect test", "--json")
    provider = "Stripe"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--expect",
            choices=["live", "test"],
            help="what the store is meant to be; live moves real money (the default, unless DJANGO_DEBUG is on or "
            "STORE_HTTPS is off)",
        )

    def examine(self, **options: Any) -> Iterator[Statement]:
        expect = options["expect"]
        live = expect == "live" if expect else settings.STORE_HTTPS and not settings.DEBUG
        address = f"{settings.STORE_ADDRESS}{reverse('webhook-stripe')}"
        return gateways.examine(live=live, webhook_url=address, last_webhook=_last_webhook(live=live))


def _last_webhook(*, live: bool) -> dt.datetime | None:
    """When a verified one last came; None too where there is no database yet."""
    try:
        came = BankEvent.objects.filter(listed=False, livemode=live)
        last: dt.datetime | None = came.aggregate(last=Max("received_at"))["last"]
    except Error:
        return None
    return last
