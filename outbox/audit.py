"""The audit: what must be true of the store, checked from outside.

Each app's `books` module declares its checks. A check compares what was written by different hands (a table,
the log, the bank, the mail provider) in plain SQL. It is read-only and shares no code with the writers: a bug
of theirs must not hide itself.
"""

import datetime as dt
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.utils.module_loading import autodiscover_modules

from outbox.models import AuditRun

logger = logging.getLogger(__name__)

# For one comparison; the largest, of every event of a million orders, takes about a minute.
STATEMENT_TIMEOUT = dt.timedelta(minutes=15)


class SourceUnreadable(Exception):
    """A provider could not be read, so nothing is known. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it must be. `order` is the order's id, empty where there is none."""

    what: str
    order: str = ""
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something a check could not look at, or that waits for a person: no difference, but worth a look."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excused(Difference):
    """What is not as it must be, and a person was asked about exactly that, or has decided it: listed, and no failure.

    `because` names the person, or says for how long it has waited for one.
    """

    because: str


Finding = Difference | Remark
Run = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A declared check. `claim` is the sentence it proves.

    `always` checks hold at any moment, the others when the store is quiet. `sources` are the providers' books
    that it compares with.
    """

    invariant: str
    claim: str
    always: bool
    sources: tuple[str, ...]
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check found; `unreadable` says why it could not be made at all. `excused` are no `differences`."""

    check: Check
    differences: tuple[Difference, ...] = ()
    excused: tuple[Excused, ...] = ()
    remarks: tuple[Remark, ...] = ()
    unreadable: str = ""
    seconds: float = 0.0


_checks: list[Check] = []
_sources: dict[str, Callable[[], None]] = {}


def check(invariant: str, *, sources: Collection[str] = ()) -> Callable[[Run], Run]:
    """Declare the decorated function as a check of that invariant; its docstring is the claim.

    An invariant whose name begins with S holds always, one with Q when the store is quiet. Raises
    ImproperlyConfigured for another name, a missing docstring or an unknown source.
    """

    def register(run: Run) -> Run:
        if not re.fullmatch(r"[SQ]\d+", invariant) or not run.__doc__:
            raise ImproperlyConfigured(f"The check {run!r} needs a name such as S1 and a docstring.")
        _checks.append(
            Check(
                invariant=invariant,
                claim=" ".join(run.__doc__.split()),
                always=invariant.startswith("S"),
                sources=tuple(sources),
                run=run,
            )
        )
        return run

    return register


def source(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Declare the decorated function as the one that copies a provider's books (`outbox.sources`).

    It runs once, before all checks; it raises SourceUnreadable. Raises ImproperlyConfigured for a taken name.
    """

    def register(read: Callable[[], None]) -> Callable[[], None]:
        if name in _sources:
            raise ImproperlyConfigured(f"Two sources call themselves {name!r}: rename one of them.")
        _sources[name] = read
        return read

    return register


def checks(*, invariants: Collection[str] = (), always_only: bool = False) -> list[Check]:
    """The declared checks in the order of their names. Raises LookupError for an unknown invariant."""
    autodiscover_modules("books")
    known = sorted({each.invariant for each in _checks})
    for name in invariants:
        if name not in known:
            raise LookupError(f"No check is called {name!r}. Known: {', '.join(known)}.")
    return [
        each
        for each in sorted(_checks, key=lambda each: (not each.always, each.invariant))
        if (not invariants or each.invariant in invariants) and (each.always or not always_only)
    ]


def audit(selected: Iterable[Check], *, starting: Callable[[str], None] = lambda what: None) -> list[Result]:
    """Read the providers' books that are needed, then make each check; `starting` is told what comes next."""
    wanted = list(selected)
    unreadable: dict[str, str] = {}
    for name in sorted({name for each in wanted for name in each.sources}):
        starting(f"reading the {name}'s books")
        try:
            _sources[name]()
        except SourceUnreadable as error:
            unreadable[name] = str(error)
    results = []
    for each in wanted:
        starting(f"{each.invariant} {each.claim}")
        reasons = [unreadable[name] for name in each.sources if name in unreadable]
        results.append(Result(check=each, unreadable=reasons[0]) if reasons else _made(each))
    return results


def record_run(results: Sequence[Result], *, keep: int = 1000) -> AuditRun:
    """Write the verdict down for metrics and admin, and delete all but the newest `keep`."""
    found = [(result.check, difference) for result in results for difference in result.differences]
    unreadable = sorted({result.unreadable for result in results if result.unreadable})
    lines = [f"{check.invariant} {each.what} {each.order}: {each.expected}, not {each.found}" for check, each in found]
    run = AuditRun.objects.create(
        checks=len(results),
        differences=len(found),
        unreadable=len(unreadable),
        seconds=sum(result.seconds for result in results),
        detail="\n".join([*unreadable, *lines[:20]]),
    )
    AuditRun.objects.filter(pk__lte=run.pk - keep).delete()
    if found:
        logger.error("action=books_differ differences=%s first=%r", len(found), lines[0])
    return run


def last_run() -> AuditRun | None:
    return AuditRun.objects.order_by("-pk").first()


def _made(each: Check) -> Result:
    begun = time.monotonic()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
            cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT // dt.timedelta(milliseconds=1)}")
        findings = list(each.run())
        transaction.set_rollback(True)  # takes the settings back if this was a savepoint of the caller's
    return Result(
        check=each,
        differences=tuple(
            finding for finding in findings if isinstance(finding, Difference) and not isinstance(finding, Excused)
        ),
        excused=tuple(finding for finding in findings if isinstance(finding, Excused)),
        remarks=tuple(finding for finding in findings if isinstance(finding, Remark)),
        seconds=time.monotonic() - begun,
    )


def select(statement: str) -> Sequence[Sequence[object]]:
    """The rows of a statement that takes no parameters."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: Sequence[Sequence[object]] = cursor.fetchall()
        return rows


def differing(what: str, statement: str) -> Iterator[Difference]:
    """A difference for each row of the statement: an order's id or null, the expected, the found; and, where there is
    a fourth column, who was asked about it or has decided it, or null."""
    for order, expected, found, *because in select(statement):
        difference = Difference(
            what=what,
            order="" if order is None else str(order),
            expected=str(expected),
            found="nothing" if found is None else str(found),
        )
        excuse = next(iter(because), None)
        yield Excused(**asdict(difference), because=str(excuse)) if excuse else difference
