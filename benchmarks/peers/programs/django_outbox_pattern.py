"""django-outbox-pattern: its `publish` hands the records to a STOMP broker, a consumer receives them from there and
keeps each in a table. Both as its documentation runs them, one process each."""

import logging
import os
import time
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.programs.outbox_project"

import django
import stomp
from django.core.management import call_command

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Forked, Handled, Told, Work

DESTINATION = "/queue/noop"
# 1: not handed to the broker, or that is not committed. What was handed over is in nobody's table until it is received.
LEFT = """
SELECT FROM published LEFT JOIN received ON received.msg_id = published.id::text
WHERE published.status = 1 OR received.id IS NULL LIMIT 1
"""

logging.getLogger("stomp.py").setLevel(logging.ERROR)
django.setup()
handled = Handled()
times: dict[int, int] = {}
_running: list[Any] = []


class Connection(stomp.StompConnection12):  # type: ignore[misc]
    """CoilMQ wants to be told more than STOMP 1.2 asks for: to which subscription an acknowledged message belongs, and
    from where one is taken back."""

    def subscribe(self, destination: str, id: str, **more: Any) -> None:
        self._at, self._of = destination, id
        super().subscribe(destination, id, **more)

    def unsubscribe(self, id: str) -> None:
        super().unsubscribe(id, destination=self._at)

    def ack(self, id: str) -> None:
        self.send_frame("ACK", {"id": self._of, "message-id": id})


def _receive(payload: Any) -> None:
    handled.one()
    times[payload.body["number"]] = time.monotonic_ns()
    payload.save()


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        from django.db import transaction

        call_command("migrate", verbosity=0)
        with transaction.atomic():
            for number in range(jobs):
                _publish(number)
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    _consume()

    def work() -> Told:
        _relay()
        return handled.drained(telling.emptied(LEFT, seconds=seconds, count=lambda: handled.count))

    return work


def listen(*, beats: int, seconds: float) -> Work:
    _relay()
    _consume()
    return lambda: telling.heard(times, beats=beats, seconds=seconds)


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    from django.db import connection

    connection.ensure_connection()
    return lambda: telling.beats(beats=beats, shortest=shortest, longest=longest, seed=seed, commit=_publish)


def finish() -> None:
    for each in _running:
        each.terminate()
        each.join()


def _publish(number: int) -> None:
    from django_outbox_pattern.models import Published

    Published(destination=DESTINATION, body={"number": number}).save()


def _relay() -> None:
    _running.append(Forked.context.Process(target=call_command, args=("publish",)))
    _running[0].start()


def _consume() -> None:
    """Messages come in a thread of the connection."""
    from django_outbox_pattern.factories import factory_consumer

    factory_consumer().start(_receive, DESTINATION)
