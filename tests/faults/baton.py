"""Who holds the baton decides when a process at a crash point may go on (outbox/crash_points.py, CRASH_BATON)."""

import contextlib
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Held:
    """A process that waits at a point. `backend`: its thread's session at PostgreSQL, 0 for none."""

    point: str
    pid: int
    backend: int
    _link: socket.socket

    def go(self) -> None:
        """Let it go on; nothing happens where it is no more."""
        with contextlib.suppress(OSError):
            self._link.sendall(b"go\n")
        self._link.close()

    def kill(self) -> None:
        """SIGKILL, at this very point."""
        os.kill(self.pid, signal.SIGKILL)
        self._link.close()


class Baton:
    """A context manager. Everybody may go on at once, but for the one hit that was asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked: tuple[str, Callable[[], bool]] | None = None
        self._until = 0
        self._held: queue.SimpleQueue[Held] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="baton", daemon=True)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def ask_for(self, point: str, *, hit: int, counts: Callable[[], bool] = lambda: True) -> None:
        """Hold the process that comes to `point` for the `hit`-th time from now on; only hits for which `counts`
        are counted."""
        with self._lock:
            self._asked, self._until = (point, counts), hit

    def ask_no_more(self) -> None:
        with self._lock:
            self._asked = None

    def wait(self, seconds: float) -> Held | None:
        """The process that was asked for; None when it did not come in time."""
        try:
            return self._held.get(timeout=seconds)
        except queue.Empty:
            return None

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return  # closed
            line = link.recv(200).decode()
            if not line:
                link.close()  # it was killed on its way here
                continue
            point, _hit, pid, backend = line.split()
            held = Held(point, int(pid), int(backend), link)
            if self._is_asked_for(point):
                self._held.put(held)
            else:
                held.go()

    def _is_asked_for(self, point: str) -> bool:
        with self._lock:
            if self._asked is None or self._asked[0] != point or not self._asked[1]():
                return False
            self._until -= 1
            if self._until == 0:
                self._asked = None
                return True
            return False
