"""JSON lines: the words of our own lines are fields, and the story that a line belongs to stands beside them."""

import json
import logging
import sys
from typing import Any

from outbox import context
from outbox.logs import JsonFormatter


def line(message: str, *arguments: object, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("payments.worker", logging.WARNING, __file__, 1, message, arguments, **extra)
    found: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return found


def test_the_words_of_a_line_are_fields() -> None:
    found = line("action=blocked payment=%s reason=%r", 17, "no such card", exc_info=None)
    assert (found["action"], found["payment"], found["reason"]) == ("blocked", "17", "no such card")
    assert (found["level"], found["logger"]) == ("WARNING", "payments.worker")
    assert found["at"].endswith("+00:00")


def test_the_story_is_named_where_there_is_one() -> None:
    assert "correlation_id" not in line("action=x", exc_info=None)
    with context.bound(context.Context.new(actor="operator:olga")) as story:
        found = line("action=x", exc_info=None)
    assert (found["correlation_id"], found["actor"]) == (story.correlation_id, "operator:olga")


def test_nobody_forges_a_field_of_every_line() -> None:
    found = line("action=x level=DEBUG reason=%r", "a=b' level='nothing", exc_info=None)
    assert found["level"] == "WARNING"


def test_a_line_of_others_stays_as_it_is() -> None:
    found = line("Listening at: url=%s\nsecond line", "http://127.0.0.1", exc_info=None)
    assert found["message"] == "Listening at: url=http://127.0.0.1\nsecond line"
    assert "url" not in found


def test_an_error_brings_its_traceback() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        found = line("action=failed", exc_info=sys.exc_info())
    assert "ValueError: wrong" in found["exception"]
