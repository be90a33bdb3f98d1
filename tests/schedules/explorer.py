"""The search: all executions, those with the fewest switches first, none of them twice.

Stateless: a state is come back to by playing its schedule again from the beginning. An edge (a state and a choice in
it) is followed once. Taking the baton from an actor that could go on counts as one switch, and edges that cost fewer
switches come first (Dijkstra's order, depth first among equals): where time runs out, everything with at most so many
switches has been tried, and that is the bound.
"""

import heapq
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.schedules.configuration import Configuration
from tests.schedules.execution import KILL, Execution
from tests.schedules.roles import Cast, Place, Step
from tests.schedules.stage import Rows, Stage

# Where one schedule is violated, its neighbours are too: so many are enough to understand.
ENOUGH_VIOLATIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    schedule: tuple[str, ...]
    steps: tuple[Step, ...]
    what: tuple[str, ...]


@dataclass(slots=True)
class Found:
    """`left` are edges that nobody has followed; `switches`: all with fewer have been followed."""

    executions: int = 0
    states: int = 0
    ends: int = 0
    longest: int = 0
    left: int = 0
    switches: int = 0
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    @property
    def exhausted(self) -> bool:
        return not self.left and not self.violations


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """`always` is asked in every new state, `quiet` after every new end, once everything has settled; each says what
    is wrong."""

    always: Callable[[Stage, Rows], list[str]]
    quiet: Callable[[Stage], list[str]]


Edge = tuple[str, str]


class Explorer:
    def __init__(self, stage: Stage, configuration: Configuration, judges: Judges) -> None:
        self._stage = stage
        self._configuration = configuration
        self._judges = judges
        self._cast = Cast()
        self._followed: set[Edge] = set()
        self._known: dict[str, list[str]] = {}
        self._shared: dict[str, int] = {}
        # From here an actor's next step asks nobody anything.
        self._alone: set[Place] = set()
        self._judged: set[str] = set()
        # Switches, then the newest first; the schedule that leads to the edge's state, and the edge.
        self._ahead: list[tuple[int, int, tuple[str, ...], Edge]] = []
        self._cost: dict[Edge, int] = {}
        self._pushed = 0
        self.found = Found()

    def explore(self, *, seconds: float) -> Found:
        begun = time.monotonic()
        try:
            self._play((), 0)
            while self._ahead and len(self.found.violations) < ENOUGH_VIOLATIONS:
                if time.monotonic() - begun > seconds:
                    break
                switches, _, schedule, edge = heapq.heappop(self._ahead)
                self.found.switches = switches
                if edge not in self._followed:
                    self._followed.add(edge)
                    self._play((*schedule, edge[1]), switches, after=edge[0])
        finally:
            self._cast.close()
        self.found.left = len({edge for *_, edge in self._ahead} - self._followed)
        self.found.states = len(self._known)
        self.found.seconds = time.monotonic() - begun
        return self.found

    def replay(self, schedule: tuple[str, ...]) -> Found:
        """Play one schedule, then whatever is left of it in the order of the actors."""
        try:
            self._play(schedule, 0)
        finally:
            self._cast.close()
        self.found.states = len(self._known)
        return self.found

    def _play(self, schedule: tuple[str, ...], switches: int, *, after: str = "") -> None:
        """Play the schedule, then go on for as long as that is new; `after` is the state before its last choice."""
        execution = Execution(self._stage, self._configuration, self._cast)
        self.found.executions += 1
        taken = list(schedule)
        place = None
        try:
            for choice in schedule:
                place = execution.places().get(choice)
                execution.take(choice)
            while True:
                after, following = self._next(execution, taken, switches, after=after, place=place)
                if following is None:
                    break
                place = execution.places().get(following)
                execution.take(following)
                taken.append(following)
        finally:
            execution.abandon()
        self.found.longest = max(self.found.longest, len(taken))

    def _next(
        self, execution: Execution, taken: list[str], switches: int, *, after: str, place: Place | None
    ) -> tuple[str, str | None]:
        """Judge the state, note what else could be done in it, and choose; None where there is nothing new."""
        committed = self._stage.control.rows()
        text = json.dumps(committed)
        state = execution.state(text)
        if execution.was_alone and place is not None:
            self._alone.add(place)
        if state not in self._known:
            rows: Rows = {table: json.loads(each) for table, each in committed.items()}
            self._shared[state] = hash((text, self._stage.control.now, self._stage.bank.digest()))
            self._known[state] = self._worth_trying(execution, rows, state, taken, after)
            violations = len(self.found.violations)
            self._judge(execution, taken, rows)
            if not self._known[state]:
                self._judge_end(execution, taken, text)
            if len(self.found.violations) > violations:
                self._known[state] = []
        choices = self._known[state]
        if not choices:
            return state, None
        goes_on = execution.last if execution.last in choices else ""
        default = goes_on or choices[0]
        for choice in reversed(choices):
            if choice != default:
                self._push(taken, (state, choice), switches + bool(goes_on))
        if (state, default) in self._followed:
            return state, None
        self._followed.add((state, default))
        return state, default

    def _worth_trying(self, execution: Execution, rows: Rows, state: str, taken: list[str], after: str) -> list[str]:
        """The choices of a new state, without those that lead nowhere new.

        - A step that asks nobody anything and changes nothing that others see can be taken at once: whatever the
          others do before it, they could do after it as well, and the same comes of it.
        - Who has changed nothing since its last point might as well have been killed there.
        """
        choices = execution.choices(lambda: rows)
        alone = next((name for name, place in execution.places().items() if place in self._alone), None)
        if alone in choices:
            return [alone]
        last = taken[-1] if taken else ""
        killed = f"{KILL} {last}"
        before = self._known.get(after, ())
        if killed in before and self._shared.get(after) == self._shared[state] and execution.steps[-1].choice == last:
            choices = [choice for choice in choices if choice != killed]
        return choices

    def _push(self, taken: list[str], edge: Edge, cost: int) -> None:
        if edge not in self._followed and cost < self._cost.get(edge, cost + 1):
            self._cost[edge] = cost
            self._pushed += 1
            heapq.heappush(self._ahead, (cost, -self._pushed, tuple(taken), edge))

    def _judge(self, execution: Execution, taken: list[str], rows: Rows) -> None:
        wrong = [*execution.failures, *self._judges.always(self._stage, rows)]
        self._blame(execution, taken, wrong)

    def _judge_end(self, execution: Execution, taken: list[str], committed: str) -> None:
        """Only what is committed and what the bank knows is left now."""
        end = f"{committed} {self._stage.control.now} {self._stage.bank.digest()}"
        if end not in self._judged:
            self._judged.add(end)
            self.found.ends += 1
            self._blame(execution, taken, self._judges.quiet(self._stage))

    def _blame(self, execution: Execution, taken: list[str], wrong: list[str]) -> None:
        if wrong:
            violation = Violation(schedule=tuple(taken), steps=tuple(execution.steps), what=tuple(wrong))
            self.found.violations.append(violation)
