"""Free TCP ports of this machine's loopback address."""

import fcntl
import os
import socket
import tempfile
from itertools import islice
from pathlib import Path

LOOPBACK = "127.0.0.1"
# How many ports are tried one after another.
TRIES = 500

# Locks of this process's ports, by port, for its lifetime: between finding a port and a server that listens on it,
# and while that server is started again, another store must not take it.
_taken: dict[int, int] = {}


def take(port: int) -> bool:
    """Take the port for this process, if nobody listens on it and no other store of this user has taken it."""
    lock = os.open(Path(tempfile.gettempdir()) / f"store-port-{os.getuid()}-{port}", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    if not _can_bind(port):
        os.close(lock)
        return False
    _taken[port] = lock
    return True


def first_free(*, start: int) -> int:
    """Take the first free port from `start` on. Raises LookupError when there is none near."""
    for port in islice(range(start, 65536), TRIES):
        if take(port):
            return port
    raise LookupError(f"Ports {start} to {start + TRIES - 1} are all in use.")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what is left of closed connections is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
