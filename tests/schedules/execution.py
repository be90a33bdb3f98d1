"""One execution: the director hands the baton to one actor at a time, until nobody is left who could take it."""

import hashlib
import queue
import time
from collections.abc import Callable
from functools import partial

import requests

from tests.schedules import actors
from tests.schedules.actors import Happened, Order, Report
from tests.schedules.bank import moves_something
from tests.schedules.configuration import Configuration, Part
from tests.schedules.roles import Cast, Place, Role, Step
from tests.schedules.stage import Rows, Stage

# Seconds. Nothing that one step does takes long; a statement that waits is recognised after the first of them.
LOOK, PATIENCE = 0.01, 30.0
KILL, KILL_LATE, TIME_OUT = "kill", "kill-late", "time-out"


class Stuck(Exception):
    """An actor neither moved nor waited for a lock."""


class NotTheSame(Exception):
    """A schedule cannot be played as it was: something other than the director decides."""


class Execution:
    """Begins in the configuration's known state. `choices` are what may happen next, `take` makes one of them happen.
    `failures` are actors that ended with an error of ours; `last` is who had the baton, and `was_alone` whether it has
    asked nobody anything since."""

    def __init__(self, stage: Stage, configuration: Configuration, cast: Cast) -> None:
        stage.reset()
        self._stage = stage
        self._cast = cast
        self._passed = configuration.passed
        self._kills, self._time_outs = configuration.kills, configuration.time_outs
        self._roles = {part.name: Role(part, cast.actor(part.name)) for part in configuration.parts}
        self._waiting: list[Role] = []
        self.steps: list[Step] = []
        self.failures: list[str] = []
        self.last = ""
        self.was_alone = False

    # --- what may happen next ---------------------------------------------------------------------

    def choices(self, rows: Callable[[], Rows]) -> list[str]:
        """In a fixed order. `rows` are asked for only where somebody's beginning depends on them."""
        free = [role for role in self._roles.values() if role.may_go and self._may_go_on(role, rows)]
        found = [role.part.name for role in free]
        for role in free:
            name = role.part.name
            if not role.at:
                continue
            if self._kills:
                found.append(f"{KILL} {name}")
                if role.calls:
                    found.append(f"{KILL_LATE} {name}")
            if self._time_outs and role.calls:
                found.append(f"{TIME_OUT} {name}")
        return found

    def _may_go_on(self, role: Role, rows: Callable[[], Rows]) -> bool:
        if role.begun:
            return True
        if role.part.twin_of and not self._roles[role.part.twin_of].begun:
            return False
        return role.part.may_begin(self._stage, rows())

    def state(self, committed: str) -> str:
        """Everything that what follows can depend on.

        - what is committed, and the clock;
        - what the bank knows;
        - where each actor stands, and what it has been told so far. Its variables, its uncommitted rows and the locks
          it holds all follow from that, because chance is its own (`Actor.draw`);
        - in which order actors wait for locks;
        - what may still go wrong.

        So two executions that come to the same state have the same futures, and one of them is enough.
        """
        found = hashlib.blake2b(committed.encode())
        found.update(f"{self._stage.control.now} {self._stage.bank.digest()}".encode())
        found.update(f"{self._kills} {self._time_outs}".encode())
        for role in self._roles.values():
            told = role.actor.digest if role.begun and not role.over else ""
            place = f"{role.part.name} {role.origin} {role.begun} {role.at} {role.waits} {role.over}"
            found.update(f"{place} {told}".encode())
        found.update(" ".join(role.part.name for role in self._waiting).encode())
        return found.hexdigest()[:32]

    def places(self) -> dict[str, Place]:
        """Of all actors that stand at a point: their next step is decided by nothing else, if it asks nobody."""
        standing = [role for role in self._roles.values() if role.may_go and role.at]
        return {role.part.name: (role.part.name, role.at, role.actor.digest) for role in standing}

    # --- making it happen -------------------------------------------------------------------------

    def take(self, choice: str) -> None:
        """Raises NotTheSame where nobody is there to do that."""
        kind, _, name = choice.rpartition(" ")
        role = self._roles.get(name)
        if role is None or not role.may_go or (kind and not role.at):
            raise NotTheSame(f"{choice!r} is not possible after {[step.choice for step in self.steps]}")
        before, granted = role.actor.touched, len(self._waiting)
        match kind:
            case "":
                self._go(role)
            case "time-out":
                self._time_outs -= 1
                self._send_later(role)
                self._go(role, Order.TIME_OUT)
            case _:
                self._kills -= 1
                if kind == KILL_LATE:
                    self._send_later(role)
                self._go(role, Order.DIE)
                self._stage.control.await_end_of(role.actor.backend)
        self.steps.append(Step(choice=choice, led_to=role.over or ("waits for a lock" if role.waits else role.at)))
        self._let_waiting_go()
        self.was_alone = not kind and role.actor.touched == before and len(self._waiting) == granted
        if not self.was_alone:
            self.last = name

    def _go(self, role: Role, order: Order = Order.GO) -> None:
        if role.begun:
            role.actor.tell(order)
        else:
            role.begun = True
            role.actor.begin(partial(role.part.play, self._stage))
        self._until_it_stops(role)

    def _send_later(self, role: Role) -> None:
        """The request is on its way, and nobody waits for the answer any more."""
        request = self._stage.wire.under_way.pop(role.part.name)
        name = f"late-request-of-{role.part.name}"
        part = Part(name=name, play=partial(_arrive, request))
        self._roles[name] = Role(part, self._cast.actor(name), origin=role.actor.digest)

    def _until_it_stops(self, role: Role) -> None:
        begun = time.monotonic()
        while True:
            try:
                report = self._cast.reports.get(timeout=LOOK)
            except queue.Empty:
                backend = role.actor.backend
                if backend and self._stage.control.is_waiting(backend) and self._cast.reports.empty():
                    role.actor.has_baton = False
                    role.waits = True
                    self._waiting.append(role)
                    return
                if time.monotonic() - begun > PATIENCE:
                    raise Stuck(f"{role.part.name} after {[step.choice for step in self.steps]}") from None
                continue
            if report.actor is not role.actor:
                self._put_aside(report)
            elif self._noted(role, report):
                return

    def _noted(self, role: Role, report: Report) -> bool:
        """False for a point at which nobody stops."""
        match report.happened:
            case Happened.POINT:
                if report.detail in self._passed:
                    role.actor.tell(Order.GO)
                    return False
                request = self._stage.wire.under_way.get(role.part.name)
                role.at = report.detail
                role.calls = request is not None and moves_something(request)
            case Happened.GRANTED:
                raise AssertionError("it had the baton")
            case Happened.FAILED:
                role.over = f"failed: {report.detail}"
                self.failures.append(f"{role.part.name} {role.over}")
            case happened:
                role.over = happened.value
        return True

    def _let_waiting_go(self) -> None:
        """Who got a lock runs on to its next point, before anybody else is chosen; first come, first served."""
        while True:
            granted = next((role for role in self._waiting if self._has_been_granted(role)), None)
            if granted is None:
                if self._waiting and not any(role.begun and role.may_go for role in self._roles.values()):
                    time.sleep(LOOK)  # each waits for another: PostgreSQL will refuse one of them
                    continue
                return
            self._waiting.remove(granted)
            granted.waits = granted.granted = False
            granted.actor.tell(Order.GO)
            self._until_it_stops(granted)
            led_to = granted.over or ("waits for a lock" if granted.waits else granted.at)
            self.steps.append(Step(choice=f"({granted.part.name} gets its lock)", led_to=led_to))

    def _put_aside(self, report: Report) -> None:
        """Of somebody without the baton: the lock was given in the middle of another's step, and it stands there."""
        role = next((each for each in self._waiting if each.actor is report.actor), None)
        if role is None or report.happened is not Happened.GRANTED:
            raise Stuck(f"{report.actor.name} moved without the baton: {report.happened} {report.detail}")
        role.granted = True

    def _has_been_granted(self, role: Role) -> bool:
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            if role.granted:
                return True
            try:
                report = self._cast.reports.get_nowait()
            except queue.Empty:
                if self._stage.control.is_waiting(role.actor.backend):
                    return False
                time.sleep(0.0002)
            else:
                self._put_aside(report)
        raise Stuck(f"{role.part.name} waits for nobody")

    # --- the end ----------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Every actor rolls back and leaves: those who hold locks first."""
        holders = [role for role in self._roles.values() if role.begun and role.may_go]
        for role in holders:
            role.actor.tell(Order.ABANDON)
            self._until_over(role)
        while self._waiting:
            role = next(each for each in self._waiting if self._has_been_granted(each))
            self._waiting.remove(role)
            role.actor.tell(Order.ABANDON)
            self._until_over(role)

    def _until_over(self, role: Role) -> None:
        while True:
            report = self._cast.reports.get(timeout=PATIENCE)
            if report.actor is not role.actor:
                self._put_aside(report)
            elif report.happened in (Happened.ENDED, Happened.DEAD, Happened.FAILED):
                role.over = "abandoned"
                return
            else:
                role.actor.tell(Order.ABANDON)


def _arrive(request: requests.PreparedRequest, stage: Stage) -> None:
    assert stage.bank  # it sees what others see
    stage.wire.arrive(request)


def stop_at(point: str) -> None:
    """The watcher of crash points: an actor stops, the director himself never does."""
    actor = actors.current()
    if actor is not None:
        actor.stop(point)
