"""What the store would be without one of its safeguards: the explorer must find out."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

from django.db import connection, transaction
from django.db.models.functions import Now

from outbox.publisher import publish_all
from payments import policy, services
from payments.gateways.base import Intent
from payments.models import Payment


@contextlib.contextmanager
def without_canceling() -> Iterator[None]:
    """A cancelled payment is `canceled` at once, and whoever works on it has lost it."""

    def cancel(*, order_ids: Iterable[int]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")  # the database itself would refuse it
            rows = list(
                Payment.objects.select_for_update(no_key=True).filter(order_id__in=order_ids, settled_at__isnull=True)
            )
            publish_all((services.canceled(row, code="requested"), row.context) for row in rows)
            Payment.objects.filter(pk__in=[row.pk for row in rows]).update(
                status=Payment.Status.CANCELED, settled_at=Now(), due_at=None, token=None, claimed_by=""
            )

    with mock.patch.object(services, "cancel", cancel):
        yield


@contextlib.contextmanager
def without_reading_back() -> Iterator[None]:
    """Whatever the bank answers to a cancel, the payment counts as canceled."""
    read = policy._read

    def trusting(view: policy.View, phase: policy.Phase, intent: Intent) -> policy.Step:
        if phase is policy.Phase.CANCEL:
            return policy.Verdict(status=policy.Status.CANCELED, intent=intent)
        return read(view, phase, intent)

    with mock.patch.object(policy, "_read", trusting):
        yield


HOLES: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "canceling": without_canceling,
    "reading-back": without_reading_back,
}
