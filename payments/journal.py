"""The journal of calls to the bank: what it says of a key, and how its rows are closed."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from payments.gateways.base import Answer, Body, Outcome
from payments.models import PaymentAttempt

# Journal rows by idempotency key, oldest first.
Uses = Mapping[str, Sequence[PaymentAttempt]]

# Outcomes after which the bank has certainly not executed anything under the key.
_NOT_EXECUTED = frozenset({Outcome.NOT_EXECUTED, Outcome.REFUSED, Outcome.UNAUTHORIZED, Outcome.KEY_MISUSED})

_CLOSE = """
    UPDATE payments_paymentattempt AS attempt
    SET finished_at = statement_timestamp(), outcome = told.outcome, http_status = told.http_status,
        request_id = told.request_id, replayed = told.replayed, bank_status = told.bank_status, code = told.code,
        decline_code = told.decline_code, message = told.message, duration_ms = told.duration_ms,
        claim_lost = told.claim_lost
    FROM unnest(
        %s::bigint[], %s::text[], %s::smallint[], %s::text[], %s::boolean[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::integer[], %s::boolean[]
    ) AS told (id, outcome, http_status, request_id, replayed, bank_status, code, decline_code, message, duration_ms,
        claim_lost)
    WHERE attempt.id = told.id AND attempt.finished_at IS NULL
"""


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


def close(answers: Sequence[tuple[int, Answer, bool]]) -> None:
    """Write what calls came to, by the ids of their rows, all in one statement. A row that is closed already (a lost
    acknowledgement) stays as it is; `True` says that the claim had ended before the answer came."""
    columns: list[list[Any]] = [
        [attempt_id for attempt_id, _, _ in answers],
        [str(answer.outcome) for _, answer, _ in answers],
        [answer.http_status for _, answer, _ in answers],
        [answer.request_id for _, answer, _ in answers],
        [answer.replayed for _, answer, _ in answers],
        [answer.bank_status for _, answer, _ in answers],
        [answer.code[:100] for _, answer, _ in answers],
        [answer.decline_code[:100] for _, answer, _ in answers],
        [answer.message for _, answer, _ in answers],
        [round(answer.duration.total_seconds() * 1000) for _, answer, _ in answers],
        [lost for _, _, lost in answers],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, columns)
