"""Prepared statements, sent by libpq itself. What a cursor of psycopg does around a small one (its text is parsed anew,
a generator waits for the socket) costs three times as much as libpq's own call; adapters and errors stay psycopg's.

A call returns when the server has answered, or has ended the statement or the connection (`statement_timeout`,
`tcp_user_timeout`); a signal is seen after it. Other threads go on meanwhile.
"""

import functools
import itertools
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

Session = psycopg.Connection[Any]
Parameters = Mapping[str, str]

_PLACEHOLDER = re.compile(rb"%\((\w+)\)s|%%")
_numbers = itertools.count(1)
# The names of what each session has prepared.
_prepared: "weakref.WeakKeyDictionary[Session, set[bytes]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Statement:
    """As libpq wants it: `parameters` by their place."""

    name: bytes
    sql: bytes
    parameters: tuple[str, ...]


@functools.cache
def _compiled(statement: bytes) -> _Statement:
    """Kept for good: statements are the program's own, and few."""
    places: dict[str, int] = {}

    def place(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b"%"
        return b"$%d" % places.setdefault(found[1].decode(), len(places) + 1)

    return _Statement(b"store_%d" % next(_numbers), _PLACEHOLDER.sub(place, statement), tuple(places))


def ask(session: Session, statement: bytes, parameters: Parameters) -> PGresult:
    """Run the statement, with `%(name)s` for parameters; it is prepared once for each session. Outside autocommit a
    transaction begins with it, as with psycopg's own cursors.

    Raises psycopg's errors, and KeyError without a parameter.
    """
    compiled = _compiled(statement)
    values = [_text(parameters[name]) for name in compiled.parameters]
    server = session.pgconn
    with session.lock:
        if not session.autocommit and server.transaction_status == TransactionStatus.IDLE:
            _answered(session, server.exec_(b"BEGIN"))
        known = _prepared.setdefault(session, set())
        if compiled.name not in known:
            _answered(session, server.prepare(compiled.name, compiled.sql))
            known.add(compiled.name)
        return _answered(session, server.exec_prepared(compiled.name, values, result_format=Format.BINARY))


def rows(session: Session, answer: PGresult) -> list[tuple[Any, ...]]:
    """As a cursor of this session would have returned them."""
    reading = Transformer(session)
    reading.set_pgresult(answer)
    return reading.load_rows(0, answer.ntuples, tuple)


def _text(value: str) -> bytes:
    if "\0" in value:  # where libpq would end it
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value.encode()


def _answered(session: Session, answer: PGresult) -> PGresult:
    if answer.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return answer
    if session.pgconn.status == ConnStatus.BAD and not answer.error_field(DiagnosticField.SQLSTATE):
        # Nobody has answered.
        raise psycopg.OperationalError(answer.get_error_message() or "the connection is lost")
    raise errors.error_from_result(answer)
