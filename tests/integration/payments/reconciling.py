"""What tests of reconciliation do over and over."""

import datetime as dt

from payments import refunds
from payments.models import Difference, Payment, Refund
from payments.refund_worker import make_engine as make_refund_engine
from tests.local.waiting import wait_until


def settled() -> None:
    """Every call is older than the settle time, and every key is forgotten."""
    begun = dt.datetime.now(tz=dt.UTC)
    wait_until(lambda: dt.datetime.now(tz=dt.UTC) - begun > dt.timedelta(seconds=1.1))


def kinds() -> list[str]:
    return sorted(Difference.objects.filter(resolved_at__isnull=True).values_list("kind", flat=True))


def ask(payment: Payment, amount: int, token: str = "t", *, by_person: bool = False) -> Refund:
    return refunds.request_refund(
        order_id=payment.order_id, amount=amount, reason="r", request_token=token, actor="ada", by_person=by_person
    )


def work_refunds() -> None:
    engine = make_refund_engine()
    try:
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()
