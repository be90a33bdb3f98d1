"""A small process that ends others when their starter is gone, however it went.

After `kill -9` nobody is left to tidy up. The guardian holds a pipe to its starter: when that ends, it sends
each watched process its closing signal, waits, and kills what is left of the whole process group. The
parent-death signal of Linux would not do: it is bound to a thread, is cleared by a change of user, does not
reach grandchildren, and other systems do not have it.

This file is also the guardian's program. It is run by its path and needs nothing but the standard library.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

# Seconds between two looks whether the starter lives: the pipe alone would stay open in a child that the
# starter forked without exec.
LOOK_INTERVAL = 1.0


def is_running(pid: int) -> bool:
    """Whether the process lives. A zombie that nobody reaps still answers signals, but does not live."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except FileNotFoundError:
        return sys.platform != "linux"
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Guardian:
    """The starter's end of the pipe. Every watched process must lead its own process group."""

    def __init__(self, *, grace: float) -> None:
        """`grace`: seconds between a closing signal and the kill."""
        self._grace = grace
        self._watched: dict[int, int] = {}
        self._ending = False
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(self._grace)]
        its_end, self._pipe = os.pipe()
        try:
            return subprocess.Popen(command, stdin=its_end, start_new_session=True, cwd="/")
        finally:
            os.close(its_end)

    def watch(self, pid: int, *, closing: signal.Signals) -> None:
        self._watched[pid] = closing
        self._tell(f"{pid} {closing:d}")

    def release(self, pid: int) -> None:
        """Watch it no longer: it has ended, and its number may become another's."""
        if self._watched.pop(pid, None) is not None:
            self._tell(f"{pid} 0")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # `keep` starts another and tells it everything
            os.write(self._pipe, f"{line}\n".encode())

    def keep(self) -> None:
        """Start another guardian where somebody killed this one."""
        if not self._ending and self._process.poll() is not None:
            os.close(self._pipe)
            self._process = self._start()
            for pid, closing in self._watched.items():
                self._tell(f"{pid} {closing:d}")

    def end(self) -> None:
        """Let it end all that it watches, as after our death; `has_ended` says when it is done."""
        if not self._ending:
            self.keep()
            self._ending = True
            os.close(self._pipe)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> None:
        self._process.wait()


def _watch_until_left_alone(*, starter: int) -> dict[int, int]:
    """Read `<pid> <signal>` lines from the pipe (signal 0: released) until the starter is gone."""
    watched: dict[int, int] = {}
    unread = b""
    while True:
        # Asked first: what it wrote before it went is in the pipe, and is read to the end.
        left_alone = os.getppid() != starter
        if not select.select([0], [], [], 0.0 if left_alone else LOOK_INTERVAL)[0]:
            if left_alone:
                break
            continue
        received = os.read(0, 65536)
        if not received:
            break
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            pid, closing = map(int, line.split())
            if closing:
                watched[pid] = closing
            else:
                watched.pop(pid, None)
    return watched


def _end(watched: dict[int, int], *, grace: float) -> None:
    """Only the leaders get the closing signal: they know in which order their own children must go."""
    for pid, closing in watched.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, closing)
    deadline = time.monotonic() + grace
    while any(map(is_running, watched)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in watched:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _end(_watch_until_left_alone(starter=int(sys.argv[1])), grace=float(sys.argv[2]))


if __name__ == "__main__":
    main()
