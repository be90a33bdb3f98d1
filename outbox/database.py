"""The database's clock, and which of its errors pass by themselves."""

import datetime as dt
import logging
from collections.abc import Callable
from functools import wraps
from time import sleep
from typing import ParamSpec, TypeVar

from django.db import Error, InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

# SQLSTATEs and their classes (postgresql.org/docs/current/errcodes-appendix.html): 08 connection, 25006 read-only
# (hosted databases become so before their disk is full, and the old server of a failover is so), 25P03 a session that
# was ended as this process stood still in a transaction, 40 rollback (deadlock, serialization), 53 out of resources
# (disk, connections), 55P03 a lock that was not to be had, 57P shutdown and restart, 58 system.
_TRANSIENT = ("08", "25006", "25P03", "40", "53", "55P03", "57P", "58")
_TOO_SLOW = "57014"
# What a person can do about some of them, and about all others.
_ADVICE = {
    "25006": "It takes no writes now: see that DATABASE_URL names the primary server, and that its disk has room.",
    "53100": "Its disk is full: make room there.",
    "53300": "It has no connection left: end some, or raise its max_connections.",
}
_USUAL_ADVICE = "See that PostgreSQL runs, that DATABASE_URL is right and that `manage.py migrate` has been run."


def is_transient(error: BaseException) -> bool:
    """Whether the same work can succeed later without anybody changing the code or the data: deadlocks, lost
    connections, a server that restarts, is full or takes no writes. A statement that is simply too slow is not."""
    if not isinstance(error, Error):
        return False
    state = _state(error)
    if state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith(_TRANSIENT)


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a request that met this error is told to come again later (503): a transient error, or a statement
    that took too long."""
    return error is not None and (is_transient(error) or _state(error) == _TOO_SLOW)


def advice(error: BaseException) -> str:
    """A sentence for whoever started a command that met this error."""
    return _ADVICE.get(_state(error) or "", _USUAL_ADVICE)


def log_unavailable(error: BaseException) -> None:
    """One line; the server's own says which statement it was."""
    logger.error("action=database_unavailable sqlstate=%s error=%s", _state(error), " ".join(str(error).split()))


def _state(error: BaseException) -> str | None:
    """None where no server has answered."""
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state


def database_now() -> dt.datetime:
    """The database's clock, which wrote every row's times."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: dt.datetime = cursor.fetchone()[0]
    return now


P = ParamSpec("P")
T = TypeVar("T")


def retried(*, tries: int = 5) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Run a function again after a transient database error, on a new connection if the old one died.

    Only for work that is whole in itself and finds its own earlier success by a natural key: after a lost
    COMMIT acknowledgement it may have happened already. Never around a network call, and never inside an
    outer transaction, which would be aborted anyway.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            for attempt in range(1, tries + 1):
                try:
                    return function(*args, **kwargs)
                except Error as error:
                    if attempt == tries or connection.in_atomic_block or not is_transient(error):
                        raise
                    connection.close_if_unusable_or_obsolete()
                    sleep(0.02 * 2**attempt)  # seconds: 0.04 to 0.32, a deadlock's other half is done by then
            raise AssertionError("unreachable")

        return wrapper

    return decorate
