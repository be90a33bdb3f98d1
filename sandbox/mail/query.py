"""The query language of SendGrid's Email Activity API, as far as equality and a period of time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from sandbox.jsons import Json
from sandbox.mail.mailbox import status

Test = Callable[[Json], bool]
_EQUAL = re.compile(r"""(?P<name>\w+)(?:\[['"](?P<key>[^'"]+)['"]\])?\s*=\s*(['"])(?P<value>.*)\3\Z""")
_BETWEEN = re.compile(
    r"""last_event_time\s+BETWEEN\s+TIMESTAMP\s+"([^"]+)"\s+AND\s+TIMESTAMP\s+"([^"]+)"\Z""", re.IGNORECASE
)
_AND = re.compile(r"""\s+AND\s+(?=\w+\s*(?:=|\[)|last_event_time\b)""", re.IGNORECASE)
FIELDS = ("msg_id", "from_email", "to_email", "subject", "template_id")


class QueryError(ValueError):
    """The query is not understood."""


def parse(query: str) -> Test:
    """Return the test that a message must pass. Raises QueryError."""
    tests = [_condition(part.strip()) for part in _AND.split(query.strip()) if part.strip()]
    return lambda message: all(test(message) for test in tests)


def _condition(text: str) -> Test:
    between = _BETWEEN.match(text)
    if between is not None:
        low, high = (datetime.fromisoformat(moment).timestamp() for moment in between.groups())
        return lambda message: low <= message["events"][-1]["timestamp"] <= high
    equal = _EQUAL.match(text)
    if equal is None:
        raise QueryError(f"invalid query: {text}")
    name, key, value = equal["name"], equal["key"], equal["value"]
    if name in ("unique_args", "custom_args") and key is not None:
        return lambda message: message["custom_args"].get(key) == value
    if name == "status":
        return lambda message: status(message) == value
    if name in FIELDS:
        return lambda message: message[name] == value
    raise QueryError(f"invalid query: {text}")
