"""An actor is a thread with a connection of its own that moves only while it holds the baton.

It stops at every crash point. Whoever waits for a row's lock has lost the baton: when the lock is his, he stops before
he looks at what the statement returned, and goes on when he is told to.

Whatever an actor is told (by the database, by the bank, by chance) goes into one running digest: two actors with the
same program and the same digest are at the same place and will do the same.
"""

import enum
import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import requests
from django.db import connection
from psycopg import ClientCursor
from psycopg.pq.abc import PGresult

from outbox import wire

Program = Callable[[], None]


class Order(enum.Enum):
    """What the director tells an actor that stands at a point."""

    GO = "go"
    DIE = "die"  # the process is gone, its connection is cut, its transaction never commits
    TIME_OUT = "time out"  # no answer to the call that is under way; the request itself may still arrive
    ABANDON = "abandon"  # this execution is over


class Killed(BaseException):
    """What a killed actor's code sees: nothing of it may do anything any more."""


class Abandoned(BaseException):
    """The execution is over: leave without a trace."""


class Happened(enum.Enum):
    POINT = "stopped"
    ENDED = "ended"
    FAILED = "failed"
    DEAD = "dead"
    GRANTED = "granted"  # the lock that was waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    actor: "Actor"
    happened: Happened
    detail: str = ""


_here = threading.local()


def current() -> "Actor | None":
    """The actor whose thread this is."""
    actor: Actor | None = getattr(_here, "actor", None)
    return actor


AnswerT = TypeVar("AnswerT", bound=PGresult | None)


def _recorded(ask: Callable[[], AnswerT]) -> AnswerT:
    """What an actor asks, and what it is told."""
    actor = current()
    if actor is None:
        return ask()
    actor.must_live()
    actor.touched += 1
    try:
        answer = ask()
    except Exception as error:
        actor.learn(type(error).__name__.encode())
        actor.regain_baton()
        raise
    if answer is not None:
        actor.learn(str(answer.command_tuples).encode())
        for row in range(answer.ntuples):
            for column in range(answer.nfields):
                actor.learn(answer.get_value(row, column) or b"\0")
    actor.regain_baton()
    return answer


class Recorded(ClientCursor[Any]):
    """The cursor of an actor's connection."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        def ask() -> PGresult | None:
            super(Recorded, self).execute(query, params, **options)
            return self.pgresult

        _recorded(ask)
        return self


_ask = wire.ask


def _recorded_prepared(session: wire.Session, statement: bytes, parameters: wire.Parameters) -> PGresult:
    """As `wire.ask`, of whichever thread."""
    return _recorded(partial(_ask, session, statement, parameters))


class Actor:
    """`reports` is the director's letter box, shared by all actors."""

    def __init__(self, name: str, reports: "queue.SimpleQueue[Report]") -> None:
        self.name = name
        self.backend = 0
        self.has_baton = False
        self.touched = 0  # how often it has asked or changed anything that others see
        self._reports = reports
        self._orders: queue.SimpleQueue[Order | Program | None] = queue.SimpleQueue()
        self._is_dead = False
        self._draws = 0
        self._knows = hashlib.blake2b()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    # --- the director's side ----------------------------------------------------------------------

    def begin(self, program: Program) -> None:
        """Start it in the actor's thread; it knows nothing yet."""
        self._is_dead = False
        self.has_baton = True
        self._orders.put(program)

    def tell(self, order: Order) -> None:
        self.has_baton = True
        self._orders.put(order)

    def close(self) -> None:
        self._orders.put(None)
        self._thread.join(timeout=10)

    @property
    def digest(self) -> str:
        """Of everything it has been told since it began."""
        return self._knows.hexdigest()[:32]

    # --- the actor's side -------------------------------------------------------------------------

    def stop(self, point: str) -> None:
        """Hand the baton over, and wait for it. Raises what the director has decided."""
        self.must_live()
        self.learn(point.encode())
        self._report(Happened.POINT, point)
        self._obey()

    def must_live(self) -> None:
        """Raises Killed in the `finally` and `except` blocks of one that was killed."""
        if self._is_dead:
            raise Killed

    def learn(self, what: bytes) -> None:
        self._knows.update(len(what).to_bytes(4))
        self._knows.update(what)

    def draw(self, count: int) -> bytes:
        """Chance: so many bytes that depend on nobody but this actor."""
        self._draws += 1
        seed = hashlib.shake_256(f"{self.name} {self._draws}".encode())
        return seed.digest(count)

    def regain_baton(self) -> None:
        """After a statement that may have waited for a lock."""
        if not self.has_baton:
            self._report(Happened.GRANTED)
            self._obey()

    def _obey(self) -> None:
        match self._orders.get():
            case Order.GO:
                return
            case Order.DIE:
                self._is_dead = True
                session = connection.connection
                if session is not None:
                    session.close()
                raise Killed
            case Order.TIME_OUT:
                raise requests.ReadTimeout("the answer does not come")
            case _:
                raise Abandoned

    def _report(self, happened: Happened, detail: str = "") -> None:
        self._reports.put(Report(actor=self, happened=happened, detail=detail))

    def _live(self) -> None:
        _here.actor = self
        self._guard_connection()
        while callable(program := self._orders.get()):
            self._play(program)
        connection.close()

    def _play(self, program: Program) -> None:
        try:
            connection.ensure_connection()
            session = connection.connection
            self.backend = session.info.backend_pid if session is not None else 0
            self._draws = 0
            self._knows = hashlib.blake2b(self.name.encode())
            program()
        except Killed:
            connection.close()
            self._report(Happened.DEAD)
        except Abandoned:
            self._report(Happened.ENDED)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the director has to know
            self._report(Happened.FAILED, f"{type(error).__name__}: {error}")
        else:
            self._report(Happened.ENDED)

    def _guard_connection(self) -> None:
        """Every connection of this thread records what it returns, and the dead get none."""
        original = connection.get_new_connection

        def get_new_connection(parameters: dict[str, Any]) -> Any:
            self.must_live()
            return original({**parameters, "cursor_factory": Recorded})

        wire.ask = _recorded_prepared
        connection.get_new_connection = get_new_connection  # type: ignore[assignment,method-assign]  # of this thread alone
