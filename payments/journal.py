"""The journal of calls to the bank: what it says of a key, and how its rows are closed."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet
from django.db.models.functions import Now

from payments.gateways.base import Answer, Body, Outcome
from payments.models import PaymentAttempt

# Journal rows by idempotency key, oldest first.
Uses = Mapping[str, Sequence[PaymentAttempt]]

# Outcomes after which the bank has certainly not executed anything under the key.
_NOT_EXECUTED = frozenset({Outcome.NOT_EXECUTED, Outcome.REFUSED, Outcome.UNAUTHORIZED, Outcome.KEY_MISUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What is known of one idempotency key. Ages are those of the database's clock."""

    age: dt.timedelta
    # Some call with it may have reached the bank and has no definite answer (or its worker died).
    doubtful: bool = False
    # The bank answered 5xx: replaying the key only replays that.
    spent: bool = False


def by_key(attempts: QuerySet[PaymentAttempt]) -> Uses:
    """The attempts that carried a key, grouped by it."""
    uses: dict[str, list[PaymentAttempt]] = defaultdict(list)
    for attempt in attempts.exclude(key="").order_by("id"):
        uses[attempt.key].append(attempt)
    return uses


def key_use(attempts: Sequence[PaymentAttempt], now: dt.datetime) -> KeyUse | None:
    """What became of a key; None when nothing was ever executed with it."""
    used = [attempt for attempt in attempts if attempt.outcome not in _NOT_EXECUTED]
    if not used:
        return None
    definite = any(attempt.outcome not in ("", Outcome.UNKNOWN) for attempt in used)
    return KeyUse(
        age=now - used[0].started_at,
        doubtful=not definite,
        spent=not definite and any((attempt.http_status or 0) >= 500 for attempt in used),
    )


def bodies_sent(keys: Mapping[int, str]) -> dict[str, Body]:
    """The exact bodies that went out with these keys before, by key; another one would be refused by the bank.
    `keys` is by payment, whose journal is short and indexed."""
    rows = PaymentAttempt.objects.filter(payment__in=keys, key__in=keys.values()).exclude(key="")
    return dict(rows.values_list("key", "request"))


def close(attempt_id: int, answer: Answer, *, lost: bool) -> None:
    """Write what a call came to. A row that is closed already (a lost acknowledgement) stays as it is; `lost`
    says that the claim had ended before the answer came."""
    PaymentAttempt.objects.filter(pk=attempt_id, finished_at__isnull=True).update(
        finished_at=Now(),
        outcome=answer.outcome,
        http_status=answer.http_status,
        request_id=answer.request_id,
        replayed=answer.replayed,
        bank_status=answer.bank_status,
        code=answer.code[:100],
        decline_code=answer.decline_code[:100],
        message=answer.message,
        duration_ms=round(answer.duration.total_seconds() * 1000),
        claim_lost=lost,
    )
