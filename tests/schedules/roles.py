"""How far each actor of an execution is, and the threads that play them."""

import queue
from dataclasses import dataclass, field

from tests.schedules.actors import Actor, Report
from tests.schedules.configuration import Part

# An actor's name, its point, and all that it knows.
Place = tuple[str, str, str]


@dataclass(slots=True)
class Role:
    """How far an actor is. `at` is its point, empty before it begins; `calls`: there, a call is under way that moves
    something. `origin` tells where a request that arrives late comes from."""

    part: Part
    actor: Actor
    at: str = ""
    begun: bool = False
    waits: bool = False
    granted: bool = False
    over: str = ""
    calls: bool = False
    origin: str = ""

    @property
    def may_go(self) -> bool:
        return not self.over and not self.waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was chosen, and where it led."""

    choice: str
    led_to: str


@dataclass(slots=True)
class Cast:
    """The threads of a configuration, used by one execution after the other."""

    reports: "queue.SimpleQueue[Report]" = field(default_factory=queue.SimpleQueue)
    actors: dict[str, Actor] = field(default_factory=dict)

    def actor(self, name: str) -> Actor:
        if name not in self.actors:
            self.actors[name] = Actor(name, self.reports)
        return self.actors[name]

    def close(self) -> None:
        for actor in self.actors.values():
            actor.close()
