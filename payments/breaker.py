"""The breaker: while the bank fails, nothing is charged or refunded; reading and cancelling go on.

It opens on the outcomes of calls alone, never on anybody's age, and on the first answer that says our key is bad. The
window of outcomes is the newest part of the journal, so the healthy path writes nothing for it. All workers share one
row. After a pause one call is let through as a probe: its success closes the breaker, its failure makes the next pause
longer, up to a bound.
"""

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Subquery
from django.db.models.functions import Now

from outbox import decisions, prepared
from outbox.backoff import Backoff
from outbox.loops import process_name
from payments import gateways
from payments.gateways.base import Answer, Gateway, Outcome
from payments.models import Breaker, PaymentAttempt

logger = logging.getLogger(__name__)

Status = Breaker.Status
Phase = PaymentAttempt.Phase

GATEWAY = "stripe"
# The loop that probes when no payment is there to be tried.
LOOP = "bank-probe"

# The window: calls of the last minute, at most so many of them; a verdict needs at least FEWEST, of which half failed.
# Five, as a single order that is tried again and again makes about that many within the minute.
WINDOW = dt.timedelta(minutes=1)
NEWEST = 500
FEWEST = 5
# A restart or a failover at the bank takes seconds; a minute later than its recovery nobody minds.
PAUSE = Backoff(first=dt.timedelta(seconds=5), longest=dt.timedelta(minutes=1))
# While a person holds it open, rows whose turn it would be come back so seldom.
HELD_PAUSE = dt.timedelta(minutes=1)
# Until somebody without a payment at hand may probe: a real charge is the better probe.
GRACE = dt.timedelta(seconds=2)

# Calls that ask for money to move; only they wait, and only their success proves that the bank can do it.
MONEY: frozenset[str] = frozenset({Phase.CREATE, Phase.CONFIRM, Phase.REFUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How the breaker stood when a batch began, by the database's clock. `retry_at` only while it is open by itself."""

    flows: bool = True
    retry_at: dt.datetime | None = None
    now: dt.datetime | None = None

    @property
    def may_probe(self) -> bool:
        return self.retry_at is not None and self.now is not None and self.retry_at <= self.now

    @property
    def wait(self) -> dt.timedelta:
        """Until it is worth asking again."""
        if self.retry_at is None or self.now is None:
            return HELD_PAUSE
        return max(self.retry_at - self.now, dt.timedelta(seconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call's answer. `ends`: no further call follows from it at once."""

    answer: Answer
    moves_money: bool
    probe: bool = False
    ends: bool = True


_READ = b"SELECT status, retry_at, statement_timestamp() FROM payments_breaker WHERE gateway = %(gateway)s"


def read() -> Position:
    """One look for each batch of calls."""
    found = prepared.run(_READ, {"gateway": GATEWAY})
    if not found:
        return Position()
    ((status, retry_at, now),) = found
    return Position(flows=status not in Breaker.STOPS, retry_at=retry_at, now=now)


_STOPS = ",".join(sorted(Breaker.STOPS))
# SQL, asked wherever something can be bought.
STOPPED = f"FROM payments_breaker WHERE gateway = '{GATEWAY}' AND status = ANY ('{{{_STOPS}}}'::text[])"
_OPEN_FOR = f"SELECT statement_timestamp() - open_since {STOPPED}".encode()


def open_for() -> dt.timedelta | None:
    """For how long nothing has been charged; None while charges flow."""
    rows = prepared.run(_OPEN_FOR, {})
    return rows[0][0] if rows else None


def take_probe(position: Position) -> bool:
    """Become the one whose next call is the probe. If nothing comes of it, another may after a lease."""
    if not position.may_probe:
        return False
    lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)
    ours = Breaker.objects.filter(gateway=GATEWAY, status=Status.OPEN, retry_at=position.retry_at)
    return ours.update(retry_at=Now() + lease) == 1


def judge(told: Sequence[Told]) -> None:
    """Draw the conclusions from a batch of answers, in the transaction that has just written them into the journal.

    Asks the database nothing while all is well.
    """
    refusal = next((each for each in told if _key_refused(each)), None)
    probe = next((each for each in told if each.probe), None)
    if not (refusal or probe or any(failed(each.answer) for each in told)):
        return
    breaker = _locked()
    if breaker.status == Status.CLOSED:
        if refusal:
            _open(breaker, f"the bank refuses our key: {refusal.answer.message}", pauses=1)
        elif why := trouble(_window(breaker)):
            _open(breaker, why, pauses=1)
    elif breaker.status == Status.OPEN and probe:
        if _key_refused(probe) or failed(probe.answer):
            _open(breaker, breaker.reason, pauses=breaker.pauses + 1)
        elif not _works(probe.answer):
            _open(breaker, breaker.reason, pauses=max(breaker.pauses, 1))  # it said neither yes nor no
        elif probe.ends:
            _close(breaker, by=process_name(), reason="a probe went through", status=Status.CLOSED)
            logger.warning("action=breaker_closed gateway=%s", breaker.gateway)


def failed(answer: Answer) -> bool:
    """Whether the bank could not do its work: no connection, no answer, 5xx, garbage. A refusal is an answer, and
    429 and 409 are no failure: the limiter deals with them. Our own errors are not the bank's."""
    return _failed(answer.outcome, answer.http_status, answer.code)


def trouble(window: Iterable[tuple[str, str, int | None, str]]) -> str:
    """Why the breaker should open: phase, outcome, status and code of the newest calls; empty when it should not.

    A reading that succeeds proves nothing about charges, so it does not count; one that fails does.
    """
    total = failures = 0
    for phase, outcome, http_status, code in window:
        bad = _failed(outcome, http_status, code)
        failures += bad
        total += bad or (phase in MONEY and outcome in _WORKED)
    if total < FEWEST or failures * 2 < total:
        return ""
    return f"{failures} of the last {total} calls failed"


_WORKED = frozenset({Outcome.ANSWERED, Outcome.DECLINED, Outcome.CARD_UNUSABLE, Outcome.REFUSED, Outcome.KEY_MISUSED})


def _works(answer: Answer) -> bool:
    return answer.outcome in _WORKED


def _failed(outcome: str, http_status: int | None, code: str) -> bool:
    if outcome == Outcome.UNKNOWN:
        return code != "internal_error"
    return outcome == Outcome.NOT_EXECUTED and http_status is None  # nobody was there


def _key_refused(told: Told) -> bool:
    """A restricted key may lack a permission to read something, which is no reason to stop charging."""
    if told.answer.outcome != Outcome.UNAUTHORIZED:
        return False
    return told.answer.http_status == 401 or told.moves_money or told.probe


def _window(breaker: Breaker) -> list[tuple[str, str, int | None, str]]:
    """The newest calls that began since the breaker last changed: what was before is dealt with."""
    newest = Subquery(PaymentAttempt.objects.order_by("-id").values("id")[:1])
    calls = PaymentAttempt.objects.filter(
        pk__gt=newest - NEWEST, started_at__gt=breaker.changed_at, finished_at__gt=Now() - WINDOW
    )
    return list(calls.values_list("phase", "outcome", "http_status", "code"))


def _locked() -> Breaker:
    ensure()
    return Breaker.objects.select_for_update(no_key=True).get(gateway=GATEWAY)


def ensure(**_: object) -> None:
    """The row, for operators to see before anything has ever failed."""
    Breaker.objects.bulk_create([Breaker(gateway=GATEWAY)], ignore_conflicts=True)


def _open(breaker: Breaker, reason: str, *, pauses: int) -> None:
    pause = PAUSE.delay(attempts=pauses)
    Breaker.objects.filter(pk=breaker.pk).update(
        status=Status.OPEN,
        reason=reason[:500],
        changed_at=Now(),
        changed_by=process_name(),
        open_since=breaker.open_since or Now(),
        retry_at=Now() + pause,
        pauses=pauses,
    )
    logger.error("action=breaker_open gateway=%s pauses=%s reason=%r", breaker.gateway, pauses, reason)


def _close(breaker: Breaker, *, by: str, reason: str, status: Status) -> None:
    Breaker.objects.filter(pk=breaker.pk).update(
        status=status, reason=reason[:500], changed_at=Now(), changed_by=by, open_since=None, retry_at=None, pauses=0
    )


# --- a probe without a payment --------------------------------------------------------------------


class Prober:
    """Asks the bank for a word when the pause is over and no charge or refund came by: without it a store that takes
    no orders any more would never learn that the bank is back."""

    def __init__(self, gateway: Gateway | None = None) -> None:
        self._gateway = gateway

    def probe(self) -> bool:
        """False when there was no reason to."""
        position = read()
        if position.retry_at is None or position.now is None or position.retry_at + GRACE > position.now:
            return False
        if not take_probe(position):
            return False
        self._gateway = self._gateway or gateways.make(connections=1)
        answer = self._gateway.ping()
        with transaction.atomic():
            judge([Told(answer=answer, moves_money=False, probe=True)])
        return True


# --- people ---------------------------------------------------------------------------------------


class AlreadySo(Exception):
    """The breaker is as it was asked to be; the message says since when."""


def hold_open(*, actor: str, reason: str) -> None:
    """Nothing is charged or refunded until a person says otherwise. Raises AlreadySo."""
    _decide("hold", Status.HELD_OPEN, actor=actor, reason=reason)


def force_closed(*, actor: str, reason: str) -> None:
    """Charges and refunds flow, whatever the bank answers. Raises AlreadySo."""
    _decide("force", Status.FORCED_CLOSED, actor=actor, reason=reason)


def automatic(*, actor: str, reason: str) -> None:
    """End a person's hold or force: from now on calls decide again. Raises AlreadySo."""
    _decide("automatic", Status.CLOSED, actor=actor, reason=reason)


def _decide(kind: str, status: Status, *, actor: str, reason: str) -> None:
    with transaction.atomic():
        breaker = _locked()
        by_itself = status == Status.CLOSED and breaker.status == Status.OPEN
        if by_itself or breaker.status == status:
            raise AlreadySo(f"It is {breaker.get_status_display().lower()} since {breaker.changed_at:%H:%M}.")
        if status == Status.HELD_OPEN:
            Breaker.objects.filter(pk=breaker.pk).update(
                status=status,
                reason=reason[:500],
                changed_at=Now(),
                changed_by=actor,
                open_since=breaker.open_since or Now(),
                retry_at=None,
                pauses=0,
            )
        else:
            _close(breaker, by=actor, reason=reason, status=status)
        decisions.record(
            kind=kind, about=breaker, actor=actor, reason=reason, before=breaker.status, after=status.value
        )
