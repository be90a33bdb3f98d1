"""What comparing intents and refunds have in common: our rows for them, and whether a worker has these in hand."""

import datetime as dt
from collections.abc import Iterable

from django.db.models import Q
from django.db.models.functions import Now

from payments.gateways.base import BankRefund, Intent
from payments.models import Payment, PaymentAttempt

# Rows that no worker holds. A claim whose lease is over is of a worker that died, perhaps before a backup was restored.
FREE = Q(token__isnull=True) | Q(due_at__lte=Now())


def made(shown: Intent | BankRefund) -> dt.datetime:
    """By the bank's clock; the beginning of time where it does not say."""
    return shown.created or dt.datetime.fromtimestamp(0, tz=dt.UTC)


def payments_by(wanted: Q, *, by: str) -> dict[object, Payment]:
    return {getattr(each, by): each for each in Payment.objects.filter(wanted)}


def busy(payments: Iterable[Payment], settled_before: dt.datetime) -> set[int]:
    """Payments that a worker has in hand, or had a moment ago."""
    rows = {each.pk for each in payments}
    recent = PaymentAttempt.objects.filter(payment__in=rows).filter(
        Q(started_at__gte=settled_before) | Q(finished_at__gte=settled_before)
    )
    held = Payment.objects.filter(pk__in=rows).exclude(FREE)
    return {*recent.values_list("payment_id", flat=True), *held.values_list("pk", flat=True)}
