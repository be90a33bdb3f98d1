"""Processes of the store that are measured: started, set off together, and asked what they did.

What each does stands in `benchmarks.tasks`; `benchmarks.child` is its main module. They begin at the same moment, when
all have said that they are ready, so that no start of Python or Django is part of a number.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.meters import server_cpu
from benchmarks.server import Server

ROOT = Path(__file__).resolve().parent.parent
# Seconds for a start and for what a task prepares, on a busy machine.
START_PATIENCE = 60.0


class ChildFailed(Exception):
    """A process ended without a result; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Task:
    """A function of `benchmarks.tasks` and its arguments; or of another program that speaks as `benchmarks.child`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    program: tuple[str, ...] = (sys.executable, "-m", "benchmarks.child")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one or more processes did together. Seconds: `seconds` from the first one's beginning to the last one's
    end, `client_cpu` and `server_cpu` of processors; the server's is None where it cannot be seen. `notes` are the
    tasks' own, in their order."""

    items: int
    seconds: float
    client_cpu: float
    server_cpu: float | None
    finished: bool = True
    notes: tuple[dict[str, Any], ...] = ()

    def __add__(self, other: "Measured") -> "Measured":
        """One after the other."""
        known = self.server_cpu is not None and other.server_cpu is not None
        return Measured(
            items=self.items + other.items,
            seconds=self.seconds + other.seconds,
            client_cpu=self.client_cpu + other.client_cpu,
            server_cpu=(self.server_cpu or 0.0) + (other.server_cpu or 0.0) if known else None,
            finished=self.finished and other.finished,
            notes=(*self.notes, *other.notes),
        )


def run(
    server: Server, database: str, *tasks: Task, patience: float = 120.0, settings: Mapping[str, str] | None = None
) -> Measured:
    """Run the tasks at the same time, each in a process of its own on that database.

    `settings` are variables of the environment. `patience` is in seconds, and only for a process that hangs: tasks
    have limits of their own. Raises ChildFailed.
    """
    children: list[_Child] = []
    main_process = server.main_process()
    try:
        for number, task in enumerate(tasks):
            log = server.folder / f"{task.name}-{number}.log"
            children.append(_Child(task, log, server.environment(database, **(settings or {}))))
        watchdog = threading.Timer(START_PATIENCE + patience, _kill, [children])
        watchdog.daemon = True
        watchdog.start()
        try:
            for each in children:
                each.await_ready()
            before = server_cpu(main_process)
            for each in children:
                each.go()
            told = [each.result() for each in children]
            after = server_cpu(main_process)
        finally:
            watchdog.cancel()
    finally:
        _kill(children)
        for each in children:
            each.close()
    return Measured(
        items=sum(each["items"] for each in told),
        seconds=max(each["ended"] for each in told) - min(each["began"] for each in told),
        client_cpu=sum(each["cpu"] for each in told),
        server_cpu=None if before is None or after is None else after - before,
        finished=all(each["finished"] for each in told),
        notes=tuple(each["notes"] for each in told),
    )


def _kill(children: "list[_Child]") -> None:
    for each in children:
        each.kill()


class _Child:
    def __init__(self, task: Task, log: Path, environment: dict[str, str]) -> None:
        self._task = task
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*task.program, task.name, json.dumps(task.arguments)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def await_ready(self) -> None:
        if self._line() != "ready":
            raise self._failed()

    def go(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failed() from error

    def result(self) -> dict[str, Any]:
        line = self._line()
        if not line or self._process.wait(START_PATIENCE):
            raise self._failed()
        told: dict[str, Any] = json.loads(line)
        return told

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout.readline().strip()

    def _failed(self) -> ChildFailed:
        last_words = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return ChildFailed(f"The process of {self._task.name} ended without a result:\n{last_words}")
