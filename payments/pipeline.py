"""The payments' part of the pipeline."""

from collections.abc import Iterator

from outbox.pipeline import Depth, WaitsFor, claim_depths, part, rows
from payments.models import BankEvent, Breaker, Dispute, Payment, Refund

Status = Payment.Status
_UNSETTLED = ", ".join(f"'{status}'" for status in Status.values if status not in Payment.FINAL)


@part
def payments() -> Iterator[Depth]:
    """By status; settled ones are not counted: that would read the whole table."""
    return claim_depths(
        Payment,
        place="payments",
        unsettled=f"status IN ({_UNSETTLED})",
        waits={
            # Not released: its order, or a person who reviews that, decides.
            f"{Status.UNPROCESSED}, resting": WaitsFor.OTHERS,
            f"{Status.DECLINED}, resting": WaitsFor.CUSTOMER,
            # Read now and then; the customer's return and the bank's webhook come first.
            f"{Status.REQUIRES_ACTION}, later": WaitsFor.CUSTOMER,
        },
    )


@part
def refunds() -> Iterator[Depth]:
    """By status; settled ones are counted only while somebody wants them to be read again."""
    return claim_depths(
        Refund,
        place="refunds",
        unsettled="status IN ('awaiting_approval', 'unprocessed', 'processing', 'unknown', 'pending') "
        "OR due_at IS NOT NULL",
        waits={
            f"{Refund.Status.AWAITING_APPROVAL}, resting": WaitsFor.PERSON,
            f"{Refund.Status.PENDING}, later": WaitsFor.OTHERS,  # the bank
        },
    )


@part
def disputes() -> Iterator[Depth]:
    """By status; closed ones are not counted."""
    return claim_depths(
        Dispute,
        place="disputes",
        unsettled="closed_at IS NULL",
        waits={f"{Dispute.Status.OPEN}, later": WaitsFor.OTHERS},  # the customer's bank
    )


@part
def bank_events() -> Iterator[Depth]:
    """What the bank told us about things that we do not know."""
    waits_for = {BankEvent.Status.WAITING: WaitsFor.OTHERS, BankEvent.Status.UNMATCHED: WaitsFor.PERSON}
    for status, count, age in rows(
        """
        SELECT status, count(*), now() - min(received_at)
        FROM payments_bankevent WHERE status <> 'applied' AND status <> 'set_aside'
        GROUP BY status ORDER BY status
        """
    ):
        yield Depth(place="bank events", state=status, waits_for=waits_for[status], count=count, age=age)


@part
def breaker() -> Iterator[Depth]:
    """Only while charges and refunds wait."""
    waits_for = {Breaker.Status.OPEN: WaitsFor.OTHERS, Breaker.Status.HELD_OPEN: WaitsFor.PERSON}
    for status, age in rows("SELECT status, now() - open_since FROM payments_breaker WHERE open_since IS NOT NULL"):
        state = f"breaker {Breaker.Status(status).label.lower()}"
        yield Depth(place="bank", state=state, waits_for=waits_for[status], count=1, age=age)


@part
def differences() -> Iterator[Depth]:
    """What the bank's books and ours do not say alike, by kind."""
    for kind, count, age in rows(
        """
        SELECT kind, count(*), now() - min(first_seen) FROM payments_difference
        WHERE resolved_at IS NULL AND NOT healing GROUP BY kind ORDER BY kind
        """
    ):
        yield Depth(place="differences", state=kind, waits_for=WaitsFor.PERSON, count=count, age=age)
