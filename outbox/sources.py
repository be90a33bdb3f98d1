"""Reading a provider's books over plain HTTP into temporary tables, so that a comparison of any size is one
statement of SQL.

The official SDKs are the writers' tools; what checks them uses none of their code.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from django.db import connection

from outbox.audit import SourceUnreadable

# Seconds to connect, and between two bytes.
_TIMEOUT = (5.0, 30.0)
# Seconds before each repetition. Stripe counts by the second, SendGrid's activity by the minute (6 calls).
_WHEN_LIMITED = (1.0, 5.0, 15.0, 30.0, 60.0)
_WHEN_UNWELL = (0.5, 2.0)

Lines = Iterable[Sequence[object]]


@contextmanager
def copied(name: str, columns: str) -> Iterator[Callable[[Lines], None]]:
    """A temporary table of this session, made afresh. The function inside appends lines to it.

    Hand over only lines that are already here: no statement may stay open while something is fetched.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS pg_temp.{name} CASCADE")
        cursor.execute(f"CREATE TEMPORARY TABLE {name} ({columns})")

    def append(lines: Lines) -> None:
        # Django wraps what execute() raises, and knows nothing of copy().
        with (
            connection.wrap_database_errors,
            connection.cursor() as cursor,
            cursor.copy(f"COPY {name} FROM STDIN") as copy,
        ):
            for line in lines:
                copy.write_row(line)

    yield append
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {name}")


def snapshot(name: str, statement: str) -> None:
    """A temporary table of this session with the statement's rows as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS pg_temp.{name} CASCADE")
        cursor.execute(f"CREATE TEMPORARY TABLE {name} AS {statement}")
        cursor.execute(f"ANALYZE {name}")


def view(name: str, statement: str) -> None:
    """A temporary view of this session, made afresh: what several checks look at, as it is when they do."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP VIEW IF EXISTS pg_temp.{name} CASCADE")
        cursor.execute(f"CREATE TEMPORARY VIEW {name} AS {statement}")


class Reader:
    """GETs JSON from one provider with a bearer key; waits out its rate limit and short outages."""

    def __init__(self, *, name: str, base: str, key: str, key_setting: str) -> None:
        """`name` and `key_setting` are for the message to whoever has to repair it."""
        self._name = name
        self._base = base
        self._key_setting = key_setting
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, params: Mapping[str, str | int]) -> Any:
        """The decoded answer. Raises SourceUnreadable when it is refused or does not come."""
        limited, unwell = list(_WHEN_LIMITED), list(_WHEN_UNWELL)
        while True:
            try:
                answer = self._session.get(f"{self._base}{path}", params=params, timeout=_TIMEOUT)
                if answer.ok:
                    return answer.json()
                trouble = f"HTTP {answer.status_code}: {answer.text[:200]}"
                pauses = limited if answer.status_code == 429 else unwell if answer.status_code >= 500 else []
            except requests.RequestException as error:
                trouble, pauses = f"{type(error).__name__}: {error}", unwell
            if not pauses:
                raise SourceUnreadable(
                    f"The {self._name} at {self._base} could not be read ({trouble}). "
                    f"See that it runs and that {self._key_setting} may read it, then check again."
                )
            time.sleep(pauses.pop(0))
