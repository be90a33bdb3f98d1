"""The log against its model: the list of the facts that were committed.

Whatever writers, relays, dispatchers, handlers that fail, repairs, newcomers and the purge do, in whatever order:
positions are dense and in order within a stream, each reader has handled exactly what lies behind its cursor but for
what is parked or was skipped, each once between two replays, and nothing undelivered is ever deleted.
"""

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Min
from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from outbox import events, feeds, parking, registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import Delivery, DomainEvent
from outbox.models import Event, LogHead, OutboxRecord, ParkedEvent, Subscription
from outbox.publisher import publish
from outbox.purging import purge_once
from outbox.relay import relay_once
from tests import clean
from tests.integration.outbox import things
from tests.integration.outbox.things import Poisoned, Stepped
from tests.properties.profiles import tried
from tests.properties.writers import Writer

BOTH = (Stepped, Poisoned)
# A version that only a newer build declares.
NEWER = 99
RETENTION = dt.timedelta(hours=1)

streams = st.integers(0, 2)
few = st.sampled_from([1, 2, 3, 100])
# A sick one makes its handlers fail until they are healed.
kinds = st.sampled_from(["step", "step", "poison", "sick", "sick", "newer"])


@dataclass
class Fact:
    """`step` is a number of its own; those of a stream rise."""

    stream: int
    step: int
    kind: str

    @property
    def type(self) -> type[DomainEvent]:
        return Poisoned if self.kind == "poison" else Stepped


@dataclass
class Reader:
    """What a subscription has done since it began, or since the last replay from there."""

    name: str
    types: tuple[type[DomainEvent], ...]
    start: int
    handled: list[int] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)
    noted: int = 0


class Log(RuleBasedStateMachine):
    """Streams 0 to 2 are written by this session, 3 and 4 by another one that commits later."""

    @initialize(plan=st.lists(st.tuples(streams, kinds), min_size=4, max_size=8))
    def begin(self, plan: list[tuple[int, str]]) -> None:
        clean.restore()
        things.create_tables()
        Subscription.objects.all().delete()
        self.steps = itertools.count(1)
        self.log: list[Fact] = []
        self.staged: list[Fact] = []  # committed, in the order in which they were written
        self.other: tuple[Writer, list[Fact]] | None = None
        self.sick: set[int] = set()
        self.readers: dict[str, Reader] = {}
        self.deadlocks = False
        self.old = self.purged = 0
        self.reader("all", BOTH)
        self.reader("waves", BOTH, one_per_stream=True)
        self.reader("steps", (Stepped,))
        registry.feed("outside", Poisoned)
        subscriptions.ensure_all()
        self.through, self.received = 0, list[int]()
        self.publish_some(plan, commits=1)
        self.relay(limit=6)

    def teardown(self) -> None:
        if not hasattr(self, "readers"):
            return
        try:
            self.everything_ends_well()
        finally:
            if self.other:
                self.other[0].end(commit=False)
            events._registry.pop(("Stepped", NEWER), None)
            for name in [*self.readers, "outside"]:
                registry.unsubscribe(name)

    def reader(
        self, name: str, types: Sequence[type[DomainEvent]], *, start: registry.Start = "beginning", **options: bool
    ) -> None:
        registry.subscribe(name, *types, start=start, **options)(lambda deliveries: self.handle(name, deliveries))
        place = self.purged if start == "beginning" else len(self.log)
        self.readers[name] = Reader(name, tuple(types), place)

    def handle(self, name: str, deliveries: Sequence[Delivery[Any]]) -> None:
        if name == "waves":
            assert len({each.aggregateid for each in deliveries}) == len(deliveries)
        things.note(name, deliveries)
        if self.deadlocks:
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")
        for each in deliveries:
            if each.event.step in self.sick:
                raise (ValueError, IntegrityError)[each.event.step % 2]("sick")

    # --- writers and the relay --------------------------------------------------------------------

    def write(self, facts: Sequence[Fact]) -> None:
        publish(*(each.type(counter=each.stream, step=each.step) for each in facts))
        newer = [each.step for each in facts if each.kind == "newer"]
        OutboxRecord.objects.filter(payload__step__in=newer).update(version=NEWER)

    def made(self, plan: Sequence[tuple[int, str]]) -> list[Fact]:
        facts = [Fact(stream, next(self.steps), kind) for stream, kind in plan]
        self.sick |= {each.step for each in facts if each.kind == "sick"}
        return facts

    @rule(plan=st.lists(st.tuples(streams, kinds), min_size=1, max_size=5), commits=st.integers(0, 3))
    def publish_some(self, plan: list[tuple[int, str]], commits: int) -> None:
        facts = self.made(plan)
        with transaction.atomic():
            self.write(facts)
            transaction.set_rollback(not commits)
        if commits:
            self.staged += facts

    @precondition(lambda self: self.other is None)
    @rule(plan=st.lists(st.tuples(st.integers(3, 4), kinds), min_size=1, max_size=3))
    def another_session_publishes(self, plan: list[tuple[int, str]]) -> None:
        facts = self.made(plan)
        self.other = Writer(lambda: self.write(facts)), facts

    @precondition(lambda self: self.other)
    @rule(commits=st.booleans())
    def and_ends_later(self, commits: bool) -> None:
        assert self.other
        writer, facts = self.other
        self.other = None
        writer.end(commit=commits)
        if commits:
            self.staged = sorted([*self.staged, *facts], key=lambda fact: fact.step)

    @rule(limit=few)
    def relay(self, limit: int) -> None:
        assert relay_once(limit=limit) == min(limit, len(self.staged))
        self.log += self.staged[:limit]
        del self.staged[:limit]

    # --- readers ----------------------------------------------------------------------------------

    @rule(data=st.data(), limit=few)
    def dispatch(self, data: st.DataObject, limit: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        before = Subscription.objects.get(pk=name)
        handled = dispatch_once(name, limit=limit)
        after = Subscription.objects.get(pk=name)
        if before.paused:
            assert (handled, after.position) == (0, before.position)
        elif before.position < len(self.log):
            assert after.position > before.position
        # Only `time_passes` lets a backoff end, however slow this machine is.
        ParkedEvent.objects.filter(due_at__gt=Now()).update(due_at=Now() + dt.timedelta(days=1))

    @rule(data=st.data())
    def a_deadlock_changes_nothing(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        before = self.rows(name)
        self.deadlocks = True
        try:
            dispatch_once(name)
        except OperationalError:
            assert self.rows(name) == before
        finally:
            self.deadlocks = False

    @staticmethod
    def rows(name: str) -> list[Any]:
        parked = ParkedEvent.objects.filter(subscription=name).order_by("number").values()
        return [Subscription.objects.filter(pk=name).values().get(), *parked]

    @precondition(lambda self: self.sick)
    @rule(data=st.data())
    def a_handler_is_healed(self, data: st.DataObject) -> None:
        self.sick.remove(data.draw(st.sampled_from(sorted(self.sick))))

    @rule()
    def the_newer_build_is_here(self) -> None:
        events._registry["Stepped", NEWER] = Stepped

    @rule(tries=st.booleans())
    def time_passes(self, tries: bool) -> None:
        """Every backoff is over; perhaps all tries but one are used up."""
        retrying = ParkedEvent.objects.filter(status="retrying")
        retrying.update(due_at=Now() - F("number") * dt.timedelta(milliseconds=1))
        if tries:
            retrying.update(attempts=parking.MAX_TRIES - 1)

    @precondition(lambda self: len(self.readers) < 6)
    @rule(start=st.sampled_from(["now", "beginning"]), types=st.sampled_from([BOTH, (Poisoned,)]))
    def a_newcomer(self, start: registry.Start, types: tuple[type[DomainEvent], ...]) -> None:
        self.reader(f"newcomer-{len(self.readers)}", types, start=start)
        subscriptions.ensure_all()

    # --- people -----------------------------------------------------------------------------------

    @precondition(lambda self: ParkedEvent.objects.exists())
    @rule(data=st.data(), gives_up=st.booleans())
    def a_person_repairs(self, data: st.DataObject, gives_up: bool) -> None:
        parked = data.draw(st.sampled_from(list(ParkedEvent.objects.order_by("subscription", "position"))), label="at")
        decide = parking.skip if gives_up else parking.retry
        of: dict[str, Any] = {"subscription": parked.subscription_id, "position": parked.position}
        if parked.status == "queued":
            with pytest.raises(parking.NotParked):
                decide(**of, actor="olga", reason="impatient")
            return
        decide(**of, actor="olga", reason="looked at it")
        if gives_up:
            self.readers[parked.subscription_id].skipped.add(parked.position)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        reader = self.readers[data.draw(st.sampled_from(sorted(self.readers)))]
        cursor = Subscription.objects.get(pk=reader.name).position
        parked = ParkedEvent.objects.filter(subscription=reader.name).order_by("position")
        ends = {self.purged, self.purged + 1, cursor + 1, cursor + 2}
        position = data.draw(st.sampled_from(sorted({*ends, *parked.values_list("position", flat=True)})), label="from")
        told: dict[str, Any] = {"name": reader.name, "position": position, "actor": "olga", "reason": "repaired"}
        if not self.purged < position <= cursor + 1:
            with pytest.raises(subscriptions.ReplayTooFar):
                subscriptions.replay(**told)
            return
        subscriptions.replay(**told)
        reader.start = min(reader.start, position - 1)
        reader.handled = [each for each in reader.handled if each < position]
        reader.skipped = {each for each in reader.skipped if each < position}

    @rule(data=st.data(), paused=st.booleans())
    def pause_or_resume(self, data: st.DataObject, paused: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        subscriptions.set_paused(name=name, paused=paused, actor="olga", reason="deploy")

    # --- a reader outside, and the purge ----------------------------------------------------------

    @rule(limit=few)
    def a_page_is_read(self, limit: int) -> None:
        page = feeds.read(name="outside", after=self.through, limit=limit)
        assert page.after == self.through
        self.received += [event.position for event in page.events]
        self.through = page.through

    @rule()
    def it_is_acknowledged(self) -> None:
        feeds.acknowledge(name="outside", through=self.through)

    @rule()
    def the_log_grows_old(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("UPDATE outbox_event SET created_at = created_at - interval '2 hours'")
        self.old = len(self.log)

    @rule(limit=few)
    def purge(self, limit: int) -> None:
        slowest = Subscription.objects.aggregate(lowest=Min("position"))["lowest"]
        through = max(self.purged, min(slowest, self.old, self.purged + limit))
        assert purge_once(retention=RETENTION, limit=limit) == through - self.purged
        self.purged = through

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def the_log_is_what_was_committed(self) -> None:
        head = LogHead.objects.get()
        assert (head.position, head.purged_through) == (len(self.log), self.purged)
        kept = Event.objects.order_by("position").values_list("position", "aggregateid", "payload__step")
        numbered = enumerate(self.log, start=1)
        assert list(kept) == [(n, str(each.stream), each.step) for n, each in numbered if n > self.purged]
        assert OutboxRecord.objects.count() == len(self.staged)
        for _, steps in self.by_stream(range(1, len(self.log) + 1)):
            assert steps == sorted(steps)

    @invariant()
    def each_reader_has_done_exactly_what_lies_behind_it(self) -> None:
        for reader in self.readers.values():
            self.take_notes(reader)
            cursor = Subscription.objects.get(pk=reader.name).position
            parked = {each.position: each for each in ParkedEvent.objects.filter(subscription=reader.name)}
            done = [*reader.handled, *parked, *reader.skipped]
            assert sorted(done) == self.positions(reader.types, reader.start, cursor), reader.name
            for _, handled in self.by_stream(reader.handled):
                assert handled == sorted(handled)
            self.only_the_lowest_is_tried(reader, parked)

    @invariant()
    def the_reader_outside_has_missed_nothing(self) -> None:
        assert self.received == self.positions((Poisoned,), 0, self.through)

    def take_notes(self, reader: Reader) -> None:
        seen = things.seen(reader.name)
        for position, stream, step in seen[reader.noted :]:
            assert (self.log[position - 1].stream, self.log[position - 1].step) == (stream, step)
            reader.handled.append(position)
        reader.noted = len(seen)

    def only_the_lowest_is_tried(self, reader: Reader, parked: dict[int, ParkedEvent]) -> None:
        handled = dict(self.by_stream(reader.handled))
        for stream, waiting in self.by_stream(sorted(parked)):
            assert max(handled.get(stream, [0])) < waiting[0]
            first, *others = [parked[position] for position in waiting]
            assert first.status in ("retrying", "waiting")
            assert {each.status for each in others} <= {"queued"}
            assert first.status == "retrying" or first.version != NEWER or first.attempts == 0

    def positions(self, types: tuple[type[DomainEvent], ...], above: int, through: int) -> list[int]:
        return [n for n, each in enumerate(self.log, start=1) if above < n <= through and each.type in types]

    def by_stream(self, positions: Any) -> list[tuple[int, list[int]]]:
        found: dict[int, list[int]] = {}
        for position in positions:
            found.setdefault(self.log[position - 1].stream, []).append(position)
        return list(found.items())

    def everything_ends_well(self) -> None:
        """Handlers are healed, the newer build is here, people retry what waits for them: all is handled in the end."""
        if self.other:
            self.and_ends_later(commits=True)
        self.sick.clear()
        self.the_newer_build_is_here()
        while self.staged:
            self.relay(limit=100)
        Subscription.objects.update(paused=False)
        ParkedEvent.objects.filter(status="waiting").update(status="retrying", due_at=Now())
        self.time_passes(tries=False)
        for name in self.readers:
            things.dispatch_all(name)
        self.each_reader_has_done_exactly_what_lies_behind_it()
        assert not ParkedEvent.objects.exists()
        assert {each.position for each in Subscription.objects.exclude(pk="outside")} == {len(self.log)}


def test_the_log_is_its_model(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for readers in ("_subscribers", "_feeds"):  # the store's own hold the purge, and have nothing to read here
        monkeypatch.setattr(registry, readers, {})
    try:
        run_state_machine_as_test(Log, settings=tried(15, steps=35))
    finally:
        things.drop_tables()
