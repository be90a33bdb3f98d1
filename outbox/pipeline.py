"""The pipeline: how much stands where, for how long, and whom it waits for.

Each app's `pipeline` module declares its part; the commands, the admin and the metrics show the same numbers.
Everything is read through the partial indexes that the workers use, so it costs what is unsettled, not what the
tables hold. Rates are counted at the end of the log.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import connection, transaction
from django.utils.module_loading import autodiscover_modules

from outbox.claims import Claimable
from outbox.feed_tokens import attached_feeds
from outbox.registry import subscribers

# The scheduler's one loop, by the name under which it beats.
SWEEP = "sweep"
# Loops beat every five seconds, between steps that may take a call's deadline several times over; the sweep begins
# every minute, at one of the scheduler's looks 30 s apart, and takes up to 50 s.
LATE = dt.timedelta(seconds=90)
SWEEP_LATE = dt.timedelta(seconds=180)


class WaitsFor(StrEnum):
    """Whose turn it is. The store is quiet when nothing waits for its machines, nor for those of its partners: what
    a warehouse has not answered yet is under way."""

    MACHINE = "machine"
    PARTNER = "partner"  # the reader of a feed, once it has a token; until then its feed waits for nobody
    CUSTOMER = "customer"
    PERSON = "person"  # an operator of the store
    OTHERS = "others"  # the provider's word, or something that has a line of its own
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """So many things stand at `place` in `state`, the oldest for `age`. `capped`: there may be more."""

    place: str
    state: str
    waits_for: WaitsFor
    count: int
    age: dt.timedelta | None = None
    capped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A loop of a process and its last heartbeat."""

    loop: str
    process: str
    age: dt.timedelta
    handled: int
    error: str

    @property
    def late(self) -> bool:
        return self.age > (SWEEP_LATE if self.loop == SWEEP else LATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`rates` is events by type published in the last minute."""

    depths: tuple[Depth, ...]
    beats: tuple[Beat, ...]
    rates: dict[str, int]

    @property
    def unsettled(self) -> list[Depth]:
        """What machines still have to do."""
        machines = (WaitsFor.MACHINE, WaitsFor.PARTNER)
        return [each for each in self.depths if each.waits_for in machines and each.count]

    @property
    def quiet(self) -> bool:
        return not self.unsettled

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the processes, in sentences. A dead process whose work another one does is no trouble."""
        found = []
        alive = {each.loop for each in self.beats if not each.late}
        for loop in sorted({each.loop for each in self.beats} - alive):
            last = min((each for each in self.beats if each.loop == loop), key=lambda each: each.age)
            what = "The scheduler's sweep" if loop == SWEEP else f"The loop {loop}"
            found.append(
                f"{what} last beat {round(last.age.total_seconds())} s ago in {last.process}: it hangs or was ended, "
                "and no other process does its work."
            )
        if not any(each.loop == SWEEP for each in self.beats):
            found.append("No scheduler has run its sweep for a day: start `manage.py qcluster`.")
        found += [f"The loop {each.loop} in {each.process} fails: {each.error}" for each in self.beats if each.error]
        return found


Part = Callable[[], Iterable[Depth]]
_parts: list[Part] = []


def part(function: Part) -> Part:
    """Declare the decorated function as one app's part of the survey."""
    _parts.append(function)
    return function


def survey() -> Survey:
    """Everything as it stands at one moment: what moves from place to place meanwhile is seen exactly once.

    Inside a caller's transaction its isolation counts.
    """
    autodiscover_modules("pipeline")
    nested = connection.in_atomic_block
    with transaction.atomic():
        if not nested:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return Survey(
            depths=tuple(depth for each in _parts for depth in each()),
            beats=tuple(_beats()),
            rates=rates(),
        )


def rates() -> dict[str, int]:
    """Events by type of the last minute, read from the log's end backwards."""
    return dict(
        rows(
            """
            SELECT type, count(*) FROM outbox_event
            WHERE position > coalesce((
                SELECT position FROM outbox_event WHERE created_at <= now() - interval '1 minute'
                ORDER BY position DESC LIMIT 1
            ), 0)
            GROUP BY type ORDER BY type
            """
        )
    )


def rows(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def claim_depths(
    model: type[Claimable], *, place: str, unsettled: str, waits: Mapping[str, WaitsFor]
) -> Iterator[Depth]:
    """The claimed rows of a model that are not final: by status, and by whether they are `due`, `claimed`, due
    `later`, never due (`resting`) or `blocked`.

    `unsettled` is the condition of the partial index over them. `waits` names those states ("declined, resting")
    that wait for somebody; blocked ones wait for a person, all others for a machine.
    """
    for status, standing, count, age in rows(
        f"""
        SELECT status, CASE
                   WHEN blocked_reason <> '' THEN 'blocked'
                   WHEN due_at IS NULL THEN 'resting'
                   WHEN due_at <= now() THEN 'due'
                   WHEN token IS NOT NULL THEN 'claimed'
                   ELSE 'later'
               END AS standing, count(*), now() - min(created_at)
        FROM {model._meta.db_table} WHERE {unsettled} GROUP BY 1, 2 ORDER BY 1, 2
        """  # noqa: S608 - names of the code
    ):
        state = f"{status}, {standing}"
        otherwise = WaitsFor.PERSON if standing == "blocked" else WaitsFor.MACHINE
        yield Depth(place=place, state=state, waits_for=waits.get(state, otherwise), count=count, age=age)


# --- the log's own part -------------------------------------------------------------------------


@part
def staging() -> Iterator[Depth]:
    ((count, age),) = rows("SELECT count(*), now() - min(created_at) FROM outbox_outboxrecord")
    yield Depth(place="outbox", state="staged", waits_for=WaitsFor.MACHINE, count=count, age=age)


@part
def subscriptions() -> Iterator[Depth]:
    """Positions a subscription is behind; a paused one waits for whoever paused it, one without a handler in
    this build, or without a reader outside, for nobody."""
    whose = {
        **{each.name: WaitsFor.MACHINE for each in subscribers()},
        **dict.fromkeys(attached_feeds(), WaitsFor.PARTNER),
    }
    for name, paused, lag, age in rows(
        """
        SELECT s.name, s.paused, head.position - s.position, now() - e.created_at
        FROM outbox_loghead AS head, outbox_subscription AS s
        LEFT JOIN outbox_event AS e ON e.position = s.position + 1
        ORDER BY s.name
        """
    ):
        waits_for = WaitsFor.PERSON if paused else whose.get(name, WaitsFor.NOBODY)
        yield Depth(place="log", state=f"behind for {name}", waits_for=waits_for, count=lag, age=age)


@part
def parked() -> Iterator[Depth]:
    """A stream waits for whom its lowest parked event waits."""
    for name, status, count, age in rows(
        """
        SELECT subscription_id, first, count(*), now() - min(parked_at)
        FROM (
            SELECT subscription_id, parked_at,
                   first_value(status) OVER (PARTITION BY subscription_id, aggregateid ORDER BY position) AS first
            FROM outbox_parkedevent
        ) AS p GROUP BY 1, 2 ORDER BY 1, 2
        """
    ):
        waits_for = WaitsFor.PERSON if status == "waiting" else WaitsFor.MACHINE
        yield Depth(place="parked", state=f"{name}, {status}", waits_for=waits_for, count=count, age=age)


def _beats() -> Iterator[Beat]:
    """A process that was killed stays here for a day."""
    for loop, process, age, handled, error in rows(
        """
        SELECT loop, process, now() - beat_at, handled, error FROM outbox_heartbeat
        WHERE beat_at > now() - interval '1 day' ORDER BY loop, process
        """
    ):
        yield Beat(loop=loop, process=process, age=age, handled=handled, error=error)
