"""Loops: `run` around a testable `run_once`.

A full batch is followed by the next at once; an idle loop sleeps until its doorbell rings or its interval
is over. An error is logged, backed off from, and never ends the loop.
"""

import logging
import os
import random
import socket
import threading
import time

from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import metrics, prepared
from outbox.doorbell import Doorbell, Woken
from outbox.models import Heartbeat
from outbox.registry import LoopSpec, Work

logger = logging.getLogger(__name__)

# Seconds of the longest pause after repeated errors: a database that comes back is used within it.
LONGEST_PAUSE = 5.0
# Items: so few rows are read from end to end at the price of a plan.
FEW = 500
# Seconds between heartbeats.
BEAT_SECONDS = 5.0


def process_name() -> str:
    """Host and process id: the worker's name in claims, journals and heartbeats."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Loop:
    """One loop of this process. `run` returns after `stop` was called and its work is finished."""

    def __init__(self, spec: LoopSpec) -> None:
        self.name = spec.name
        self._make = spec.make
        self._work: Work | None = None
        self._idle_seconds = spec.idle_seconds
        self._full = spec.full
        self._stopping = threading.Event()
        self._bell = Doorbell(spec.name)
        self._woken = Woken.BY_NOBODY
        self._pause = 0.0
        self._handled = 0
        self._planned_at = FEW
        self._beat_at = 0.0
        self._error = ""

    def stop(self) -> None:
        """Ask the loop to finish its step and return; from any thread or a signal handler."""
        self._stopping.set()
        self._bell.ring()

    @property
    def handled(self) -> int:
        """Items handled since the start."""
        return self._handled

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            if self._work is not None:
                self._work.close()
            self._bell.close()
            self._farewell()
            connection.close()

    def _turn(self) -> None:
        try:
            moved = self._ready().run_once(woken=self._woken)
            self._woken = Woken.BY_ITSELF
            self._handled += moved
            metrics.ITEMS.labels(self.name).inc(moved)
            self._plan_anew()
            self._pause = 0.0
            self._error = ""
            self._beat()
        except Exception as error:
            self._pause = min(LONGEST_PAUSE, max(0.1, self._pause * 2))
            self._error = f"{type(error).__name__}: {error}"
            metrics.FAILURES.labels(self.name).inc()
            logger.exception("action=loop_failed loop=%s pause=%.1f", self.name, self._pause)
            connection.close()
            self._beat_trouble()
            self._stopping.wait(self._pause)
            return
        if moved < self._full:
            # With jitter, so that many processes do not poll in step.
            self._woken = self._bell.wait(self._idle_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    def _ready(self) -> Work:
        if self._work is None:
            self._work = self._make()
            self._work.wake_with(self._bell.ring)
        return self._work

    def _plan_anew(self) -> None:
        """What is handled fills tables: plans that were made when they were half as long, or empty, are made again."""
        if self._handled > 2 * self._planned_at:
            self._planned_at = self._handled
            prepared.plan_anew()

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at < BEAT_SECONDS:
            return
        self._beat_at = time.monotonic()
        close_old_connections()  # not at every turn: a connection that is looked at is asked a question
        Heartbeat.objects.update_or_create(
            loop=self.name,
            process=process_name(),
            defaults={"beat_at": Now(), "handled": self._handled, "error": self._error},
        )

    def _beat_trouble(self) -> None:
        """Alive, and in trouble: where the database can be used, everybody may see it."""
        try:
            self._beat()
        except Exception:
            logger.exception("action=beat_failed loop=%s", self.name)
            connection.close()

    def _farewell(self) -> None:
        try:
            Heartbeat.objects.filter(loop=self.name, process=process_name()).delete()
        except Exception:
            logger.exception("action=farewell_failed loop=%s", self.name)


def beat(loop: str) -> None:
    """A heartbeat for work that is no loop (the scheduler's sweep)."""
    with transaction.atomic():
        beaten = Heartbeat.objects.filter(loop=loop, process=process_name()).update(
            beat_at=Now(), handled=F("handled") + 1
        )
        if not beaten:
            Heartbeat.objects.create(loop=loop, process=process_name(), handled=1)
