"""A doorbell wakes a loop of this machine at once after a commit; polling remains the truth.

Each waiting loop binds a unix datagram socket `<name>.<pid>.<n>` in one private folder; whoever commits
work for it sends one byte to every socket of that name. Loops of one process wake each other without the folder.
Best effort: a lost ring costs one poll interval.
LISTEN/NOTIFY is not used, because every notifying commit takes one cluster-wide lock.
"""

import contextlib
import enum
import functools
import hashlib
import itertools
import os
import select
import socket
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

from django.conf import settings

_counter = itertools.count(1)
# The bells of this process.
_own: set["Doorbell"] = set()


@functools.cache
def folder() -> Path | None:
    """The doorbells' folder, owned by this user and closed to all others; None when switched off.

    Unless DOORBELL_DIR names one, all processes of this user on the same database share one.
    """
    if settings.DOORBELL_DIR == "off":
        return None
    if settings.DOORBELL_DIR:
        path = Path(settings.DOORBELL_DIR)
    else:
        database = settings.DATABASES["default"]
        place = "|".join(str(database.get(key, "")) for key in ("HOST", "PORT", "NAME"))
        digest = hashlib.sha256(place.encode()).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"store-bells-{os.getuid()}-{digest}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return None  # somebody else's: polling is enough
    return path


def ring(*names: str) -> None:
    """Wake every loop of these names on this machine."""
    here = set()
    for own in tuple(_own):
        if own.name in names:
            own.call()
            here.add(str(own.path))
    path = folder()
    if path is None:
        return
    with contextlib.suppress(OSError):
        _send({f"{path}/{each}" for each in os.listdir(path) if each.rsplit(".", 2)[0] in names} - here)


def _send(bells: Collection[str]) -> None:
    if not bells:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for bell in bells:
            try:
                sender.sendto(b"1", bell)
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    os.unlink(bell)  # its process died without taking it away
            except OSError:
                continue  # full means it rings already; anything else is left to polling


class Woken(enum.IntEnum):
    """Who has ended a wait: the time, only the loop's own `Doorbell.ring`, or whoever committed work for it."""

    BY_NOBODY = 0
    BY_ITSELF = 1
    BY_OTHERS = 2


class Doorbell:
    """One loop's bell: `wait` returns early when it rings."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Its socket for other processes.
        self.path: Path | None = None
        self._called = False
        self._receiver, self._local = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sockets = [self._receiver]
        path = folder()
        if path is not None:
            bell = path / f"{name}.{os.getpid()}.{next(_counter)}"
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                bell.unlink(missing_ok=True)
                listener.bind(str(bell))
            except OSError:
                listener.close()
            else:
                self.path = bell
                self._sockets.append(listener)
        self._local.setblocking(False)
        for each in self._sockets:
            each.setblocking(False)
        _own.add(self)

    def ring(self) -> None:
        """Wake this very loop, from any thread."""
        with contextlib.suppress(OSError):
            self._local.send(b"1")

    def call(self) -> None:
        """Wake it for work that somebody else has committed, from any thread."""
        self._called = True
        self.ring()

    def wait(self, seconds: float) -> "Woken":
        """Sleep until the bell rings or `seconds` are over; say who ended it. False in a condition: nobody rang."""
        ringing, _, _ = select.select(self._sockets, [], [], seconds)
        for each in ringing:
            with contextlib.suppress(BlockingIOError):
                while each.recv(16):
                    pass
        called, self._called = self._called, False  # set before it rings, so that it may come early but never late
        if called or any(each is not self._receiver for each in ringing):
            return Woken.BY_OTHERS
        return Woken.BY_ITSELF if ringing else Woken.BY_NOBODY

    def close(self) -> None:
        _own.discard(self)
        for each in (*self._sockets, self._local):
            each.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
