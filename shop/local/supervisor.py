"""Keeps named processes running: starts again what dies or hangs, and ends all of them together.

Each process leads a group of its own and writes to a log file of its own; its children are killed after it.
The guardian ends everything when we are killed, and on `stop` too: one way of ending, always used.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shop.local.guardian import Guardian

# Seconds between two looks at the processes.
LOOK_INTERVAL = 0.2
# Seconds before a dead process is started again: doubled at each death, forgotten once it ran for a while.
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.5, 30.0, 60.0
# Seconds between two questions after a process's health.
HEALTH_INTERVAL = 5.0
# Seconds to finish a step (a call to the bank may take 15) before the kill.
GRACE = 20.0


def _nothing() -> None:
    """The default for what is called at each look."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run.

    `healthy` is asked from `settle` seconds after the start; False means hung: killed and started again.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    healthy: Callable[[], bool] | None = None
    settle: float = 60.0


@dataclass
class _Child:
    program: Program
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    pause: float = 0.0
    ask_health_at: float = 0.0


class Supervisor:
    """`report` gets one line for each event worth telling. Also a context manager."""

    def __init__(
        self,
        *,
        logs: Path,
        report: Callable[[str], None],
        grace: float = GRACE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        """`grace`: seconds that processes have to end after SIGTERM; `longest_pause`: before a dead one is started
        again."""
        self._longest_pause = longest_pause
        self._logs = logs
        self._report = report
        self._children: dict[str, _Child] = {}
        logs.mkdir(parents=True, exist_ok=True)
        self._guardian = Guardian(grace=grace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, program: Program) -> None:
        child = self._children[program.name] = _Child(program)
        self._launch(child)

    def pid(self, name: str) -> int | None:
        """The named process's number; None while it waits to be started again."""
        process = self._children[name].process
        return process.pid if process is not None else None

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def run(self, program: Program, *, to_terminal: bool = False, each_look: Callable[[], None] = _nothing) -> int:
        """Run one command to its end, tend the others meanwhile, and return its exit status.

        When this is interrupted, `stop` ends the command with the rest.
        """
        process = self._spawn(program, to_terminal=to_terminal)
        return self.wait(process, each_look=each_look)

    def begin(self, program: Program) -> "subprocess.Popen[bytes]":
        """Run one command beside what follows, until `end`; one that ends by itself is not started again."""
        return self._spawn(program)

    def end(self, process: "subprocess.Popen[bytes]", *, each_look: Callable[[], None] = _nothing) -> int:
        """Ask a command that was begun to end, await that, and return its exit status."""
        process.terminate()
        return self.wait(process, each_look=each_look)

    def wait(self, process: "subprocess.Popen[bytes]", *, each_look: Callable[[], None]) -> int:
        self.run_until(lambda: process.poll() is not None, each_look=each_look)
        self._guardian.release(process.pid)
        return process.wait()

    def run_until(self, done: Callable[[], bool], *, each_look: Callable[[], None] = _nothing) -> None:
        """Tend the processes until `done`, which is asked at each look."""
        while not done():
            self.tend()
            each_look()
            time.sleep(LOOK_INTERVAL)

    def tend(self) -> None:
        """Take one look at everything."""
        self._guardian.keep()
        now = time.monotonic()
        for child in self._children.values():
            if child.process is None:
                if now >= child.start_again_at:
                    self._launch(child)
            elif child.process.poll() is not None:
                self._bury(child, child.process, now=now)
            elif child.program.healthy is not None and now >= child.ask_health_at:
                child.ask_health_at = now + HEALTH_INTERVAL
                if not child.program.healthy():
                    self._report(f"{child.program.name} hangs and is killed")
                    _kill_group(child.process.pid)

    def stop(self) -> None:
        """Ask all to end, then kill what is left, grandchildren included. May be called again."""
        self._guardian.end()
        while not self._guardian.has_ended():
            for child in self._children.values():
                if child.process is not None:
                    child.process.poll()  # reaps it, so that the guardian sees it gone
            time.sleep(0.02)
        for child in self._children.values():
            if child.process is not None:
                child.process.wait()
        self._children.clear()

    def _launch(self, child: _Child) -> None:
        child.process = self._spawn(child.program)
        child.started_at = time.monotonic()
        child.ask_health_at = child.started_at + child.program.settle

    def _spawn(self, program: Program, *, to_terminal: bool = False) -> "subprocess.Popen[bytes]":
        with self.log(program.name).open("ab") as log:
            process = subprocess.Popen(
                program.command,
                env=program.environment,
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=None if to_terminal else log,
                stderr=None if to_terminal else log,
                start_new_session=True,
            )
        self._guardian.watch(process.pid, closing=signal.SIGTERM)
        return process

    def _bury(self, child: _Child, dead: "subprocess.Popen[bytes]", *, now: float) -> None:
        _kill_group(dead.pid)
        self._guardian.release(dead.pid)
        if now - child.started_at > STEADY:
            child.pause = 0.0
        child.pause = min(self._longest_pause, max(FIRST_PAUSE, child.pause * 2))
        child.start_again_at = now + child.pause
        name = child.program.name
        how = _how_it_ended(dead.returncode)
        self._report(f"{name} {how}; starting again in {child.pause:.1f} s ({self.log(name)})")
        child.process = None


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"
