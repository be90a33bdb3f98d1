"""Named places where a process may die, so that tests can make it die exactly there.

`CRASH_POINT=P5:2` in the environment kills the process with SIGKILL when it comes to P5 for the second time.

`CRASH_BATON=<unix socket>` hands the process over instead, at every point or only at that one: it sends a line
`point hit pid backend` (`backend`: the process id of its session at PostgreSQL, 0 for none), and waits until it
reads `go`. Meanwhile whoever holds the baton may stop PostgreSQL, freeze connections, or let others go first.

`watching(...)` hands every point to a function of this process, in the thread that comes to it.

In production a crash point is one look at a variable. A point that stands outside a transaction asserts that none
is open: so no call to the network is ever made inside one.
"""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection


class Fault(StrEnum):
    """What can go wrong at a point; tests/faults does each of them to real processes."""

    KILL = "kill"  # the process ends at once (SIGKILL)
    STOP = "stop"  # PostgreSQL ends at once and comes back; the process lives on
    LOST_COMMIT = "lost commit"  # the session's next COMMIT is done, its acknowledgement never arrives
    VANISH = "vanish"  # the host is gone, and nobody has closed its connections


@dataclass(frozen=True, slots=True)
class Point:
    """`what` the process has just done, or is about to do; which `faults` make sense there."""

    what: str
    faults: tuple[Fault, ...]
    in_transaction: bool = False


_ALWAYS = (Fault.KILL, Fault.STOP)
# The row's lock, the head's or a cursor's is held by a session that nobody ends.
_INSIDE = (*_ALWAYS, Fault.LOST_COMMIT, Fault.VANISH)
# What has come back is about to be committed.
_BEFORE_COMMIT = (*_ALWAYS, Fault.LOST_COMMIT)
# A call is under way.
_CALLING = (*_ALWAYS, Fault.VANISH)

POINTS: dict[str, Point] = {
    "O1": Point("order written, not committed", _INSIDE, in_transaction=True),
    "O2": Point("order committed, nothing done since", _ALWAYS),
    "O3": Point("order committed, no HTTP response yet", _ALWAYS),
    "K1": Point("another card committed, not answered", _ALWAYS),
    "P1": Point("payments claimed and committed", _ALWAYS),
    "P2": Point("the create call is with the bank", _CALLING),
    "P3": Point("intent received, not saved", _BEFORE_COMMIT),
    "P4": Point("intent id saved and committed", _ALWAYS),
    "P5": Point("the confirm call is with the bank", _CALLING),
    "P6": Point("result received, not recorded", _BEFORE_COMMIT),
    "P7": Point("result committed, nothing done since", _ALWAYS),
    "R1": Point("the log's head is locked", _INSIDE, in_transaction=True),
    "R2": Point("records moved to the log, not committed", _INSIDE, in_transaction=True),
    "D1": Point("events read", _INSIDE, in_transaction=True),
    "D2": Point("handlers done, cursor not committed", _INSIDE, in_transaction=True),
    "D3": Point("cursor committed", _ALWAYS),
    "E1": Point("messages claimed: `sending` is committed", _ALWAYS),
    "E2": Point("the mail is with the provider", _CALLING),
    "E3": Point("the provider's answer received, not recorded", _BEFORE_COMMIT),
    "E4": Point("the message's result committed", _ALWAYS),
    "C1": Point("the hold released with the order's end, not committed", _INSIDE, in_transaction=True),
    "C2": Point("refund row saved and claimed", _ALWAYS),
    "C3": Point("the refund call is with the bank", _CALLING),
    "C4": Point("the refund recorded", _ALWAYS),
    "C5": Point("the bank's answer to a refund received, not recorded", _BEFORE_COMMIT),
    "X1": Point("canceling committed", _ALWAYS),
    "X2": Point("the cancel call is with the bank", _CALLING),
    "X3": Point("the cancellation recorded", _ALWAYS),
    "G1": Point("the question about a dispute is with the bank", _CALLING),
    "G2": Point("the bank's word on a dispute received, not recorded", _BEFORE_COMMIT),
    "G3": Point("what the bank says about a dispute recorded", _ALWAYS),
    "B1": Point("a question is with a provider, which changes nothing there", _CALLING),
    "S1": Point("the screening's question is with the service", _CALLING),
    "S2": Point("the screening's answer recorded", _ALWAYS),
    "S3": Point("the screening's answer received, not recorded", _BEFORE_COMMIT),
    "W1": Point("a webhook's signature is verified, nothing stored", _ALWAYS),
    "W2": Point("a webhook is stored and its rows are nudged, not committed", _INSIDE, in_transaction=True),
    "W3": Point("the webhook committed, not answered", _ALWAYS),
    "F1": Point("a feed's page is read, not answered", _ALWAYS),
    "F2": Point("a shipment is committed, not answered", _ALWAYS),
    "F3": Point("a feed's acknowledgement is committed, not answered", _ALWAYS),
    "A1": Point("a person's decision and its effect written, not committed", _INSIDE, in_transaction=True),
    "A2": Point("a person's decision committed, not answered", _ALWAYS),
}

_wanted = os.environ.get("CRASH_POINT", "")
_baton = os.environ.get("CRASH_BATON", "")
_watcher: Callable[[str], None] | None = None
_is_watched = bool(_wanted or _baton)


class _Call(threading.local):
    """The call that this thread is making."""

    point = ""


_call = _Call()
_hits: Counter[str] = Counter()
_counting = threading.Lock()


class Nameless(Exception):
    """A boundary without a point in the table: no test can ever make a process die there."""


def crash_point(name: str) -> None:
    """Mark a boundary. While a test watches: raises Nameless for a name that is not in POINTS, AssertionError when a
    transaction is open at a point that must be outside one."""
    if not _is_watched:
        return
    point = POINTS.get(name)
    if point is None:
        raise Nameless(f"{name!r} is no crash point: declare it, and make calls inside calling().")
    if connection.in_atomic_block and not point.in_transaction:
        raise AssertionError(f"a transaction is open at {name}")
    if _watcher is not None:
        _watcher(name)
        return
    with _counting:
        _hits[name] += 1
        hit = _hits[name]
    if _wanted and _wanted not in (f"{name}:{hit}", name if hit == 1 else ""):
        return
    if _baton:
        _hand_over(name, hit)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def calling(point: str) -> Iterator[None]:
    """Calls of this thread inside pass the crash point `point` once their request is out. A call outside has no
    name, and fails while a test watches."""
    _call.point = point
    try:
        yield
    finally:
        _call.point = ""


def request_is_out() -> None:
    """The point of the call that this thread is making."""
    crash_point(_call.point)


@contextmanager
def watching(watcher: Callable[[str], None]) -> Iterator[None]:
    """Inside, `watcher` is called at every point of every thread, in that thread; what it raises is raised there."""
    global _watcher, _is_watched
    before = _watcher, _is_watched
    _watcher, _is_watched = watcher, True
    try:
        yield
    finally:
        _watcher, _is_watched = before


def _hand_over(name: str, hit: int) -> None:
    """Wait until whoever holds the baton says `go`. Without anybody there this process has no purpose left."""
    session = connection.connection
    backend = session.info.backend_pid if session is not None and not session.closed else 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        try:
            link.connect(_baton)
            link.sendall(f"{name} {hit} {os.getpid()} {backend}\n".encode())
            answer = link.recv(16)
        except OSError:
            answer = b""
    if answer != b"go\n":
        os.kill(os.getpid(), signal.SIGKILL)
