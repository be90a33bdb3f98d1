"""Log lines as JSON, one object for each, for whoever collects them.

The store's own lines say `action=… payment=…`; those words become fields, beside the story that the line belongs
to (correlation, causation, trace, actor). They hold ids, amounts and codes, as the events do: no personal data.
"""

import datetime as dt
import json
import logging
import re

from outbox import context

_PAIR = re.compile(r"""(?P<name>[a-z_]+)=(?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)""")


class JsonFormatter(logging.Formatter):
    """`at` is UTC. A line's own fields never replace those of every line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "at": dt.datetime.fromtimestamp(record.created, tz=dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": message,
        }
        bound = context.bound_now()
        if bound is not None:
            line |= bound.headers()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        fields = _fields(message) if message.startswith("action=") else {}
        return json.dumps({**fields, **line}, ensure_ascii=False, default=str)


def _fields(message: str) -> dict[str, str]:
    return {found["name"]: found["value"].strip("'\"") for found in _PAIR.finditer(message)}
