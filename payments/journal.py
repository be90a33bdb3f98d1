"""The journal of calls to the bank: what it says of a key, and how its rows are closed."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from outbox import journals, prepared
from payments.gateways.base import Answer, Body, Outcome
from payments.models import PaymentAttempt

# Outcomes after which the bank has certainly not executed anything under the key.
_NOT_EXECUTED = frozenset({Outcome.NOT_EXECUTED, Outcome.REFUSED, Outcome.UNAUTHORIZED, Outcome.KEY_MISUSED})

_OF_PAYMENTS = "payment_id = ANY (%(ids)s::bigint[]) AND refund_id IS NULL"
_OF_REFUNDS = "refund_id = ANY (%(ids)s::bigint[])"
_USES = """
SELECT key, outcome, http_status, started_at, statement_timestamp() FROM payments_paymentattempt
WHERE {whose} AND key <> '' ORDER BY id
"""
# The exact body that went out with this key before, as the bank would refuse another one. A payment's journal is short
# and indexed.
_REQUEST = """
coalesce(
    (SELECT sent.request FROM payments_paymentattempt AS sent
     WHERE sent.payment_id = given.payment_id AND sent.key = given.key AND sent.key <> '' ORDER BY sent.id LIMIT 1),
    given.request
)
"""


class Opened(NamedTuple):
    """A call's row in the journal, and what goes out."""

    id: int
    phase: str
    key: str
    request: Body


class Use(NamedTuple):
    """A call that carried a key; `now` is when that was read."""

    key: str
    outcome: str
    http_status: int | None
    started_at: dt.datetime
    now: dt.datetime


# By idempotency key, oldest first.
Uses = Mapping[str, Sequence[Use]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What is known of one idempotency key. Ages are those of the database's clock."""

    age: dt.timedelta
    # Some call with it may have reached the bank and has no definite answer (or its worker died).
    doubtful: bool = False
    # The bank answered 5xx: replaying the key only replays that.
    spent: bool = False


def uses_of_payments(ids: Sequence[int]) -> Uses:
    """Their calls, without those of refunds. Of none, nobody is asked: most payments that are claimed are new."""
    return _uses(_OF_PAYMENTS, ids)


def uses_of_refunds(ids: Sequence[int]) -> Uses:
    return _uses(_OF_REFUNDS, ids)


def _uses(whose: str, ids: Sequence[int]) -> Uses:
    found: dict[str, list[Use]] = defaultdict(list)
    if ids:
        for row in prepared.run(_USES.format(whose=whose).encode(), {"ids": prepared.numbers(ids)}):
            use = Use(*row)
            found[use.key].append(use)
    return found


def key_use(uses: Sequence[Use]) -> KeyUse | None:
    """What became of a key; None when nothing was ever executed with it."""
    used = [use for use in uses if use.outcome not in _NOT_EXECUTED]
    if not used:
        return None
    definite = any(use.outcome not in ("", Outcome.UNKNOWN) for use in used)
    return KeyUse(
        age=used[0].now - used[0].started_at,
        doubtful=not definite,
        spent=not definite and any((use.http_status or 0) >= 500 for use in used),
    )


def open_all(rows: Sequence[prepared.Row]) -> list[Opened]:
    """Write these rows, before any of the calls is made. A key that went out before goes out with the body it had."""
    written = journals.open_all(PaymentAttempt, rows, request=_REQUEST)
    return [
        Opened(id=number, phase=row["phase"], key=row["key"], request=request)
        for row, (number, request) in zip(rows, written, strict=True)
    ]


def close(answers: Sequence[tuple[int, Answer, bool]]) -> None:
    """Write what calls came to, by the ids of their rows; `True` says that the claim had ended before the answer
    came."""
    journals.close_all(
        PaymentAttempt,
        [
            {
                "id": attempt_id,
                "outcome": answer.outcome,
                "http_status": answer.http_status,
                "request_id": answer.request_id,
                "replayed": answer.replayed,
                "bank_status": answer.bank_status,
                "code": answer.code[:100],
                "decline_code": answer.decline_code[:100],
                "message": answer.message,
                "duration_ms": round(answer.duration.total_seconds() * 1000),
                "claim_lost": lost,
            }
            for attempt_id, answer, lost in answers
        ],
    )
