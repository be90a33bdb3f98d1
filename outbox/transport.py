"""HTTP with a deadline for the whole call.

A read timeout bounds the wait for the next byte only: a server that drips one byte at a time holds a call for
ever. Here a watchdog shuts the socket down when the call's time is over, and the caller sees a broken
connection, which is what it is.
"""

import contextlib
import datetime as dt
import os
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError

from outbox.crash_points import request_is_out

# Seconds between two looks of the watchdog: the precision of a deadline.
_WATCH_INTERVAL = 0.25


class _Call(threading.local):
    """The call that this thread is making."""

    deadline = 0.0


_call = _Call()


class _Watchdog:
    """One thread for all calls of the process; asleep while there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._sockets: dict[int, tuple[float, socket.socket]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, sock: socket.socket, deadline: float) -> None:
        """Watch this thread's socket until `release`."""
        with self._lock:
            self._sockets[threading.get_ident()] = (deadline, sock)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="call-watchdog", daemon=True)
                self._thread.start()
            self._busy.set()

    def release(self) -> None:
        with self._lock:
            self._sockets.pop(threading.get_ident(), None)
            if not self._sockets:
                self._busy.clear()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(_WATCH_INTERVAL)
            now = time.monotonic()
            with self._lock:
                for deadline, sock in self._sockets.values():
                    if deadline <= now:
                        with contextlib.suppress(OSError):
                            sock.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()


class _Watched:
    """Mixed into urllib3's connections. When an answer is about to be read the request is out: the place to
    die in a test, and the place from which the deadline matters (connecting has a timeout of its own)."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        request_is_out()
        if self.sock is not None and _call.deadline:
            _watchdog.watch(self.sock, _call.deadline)
        return super().getresponse()  # type: ignore[misc]  # the connection class behind this mixin


class _HTTPConnection(_Watched, HTTPConnection):
    pass


class _HTTPSConnection(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class DeadlineSession(requests.Session):
    """A session for threads, with kept-alive connections, no retries, and `deadline` seconds for each call."""

    def __init__(self, *, deadline: float, connections: int) -> None:
        super().__init__()
        self._deadline = deadline
        # `requests` would read all of the environment at each call, a tenth of a call's CPU time: here it is read once.
        # And a .netrc would put its own name in the place of our key.
        self.trust_env = False
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._proxies: dict[str, dict[str, str]] = {}
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
        adapter.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        _call.deadline = time.monotonic() + self._deadline
        try:
            return super().request(*args, **kwargs)
        finally:
            _call.deadline = 0.0
            _watchdog.release()

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """With the session's headers. It has no parameters, login or cookies of its own, and to look for them each time
        is a tenth of a call's CPU time."""
        prepared = requests.PreparedRequest()
        prepared.prepare(
            method=request.method,
            url=request.url,
            headers=CaseInsensitiveDict({**self.headers, **request.headers}),
            files=request.files,
            data=request.data,
            json=request.json,
            params=request.params,
            auth=request.auth,
            cookies=request.cookies,
            hooks=request.hooks,
        )
        return prepared

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """With the proxies that the environment names, looked up once for each server."""
        server = urlsplit(url).netloc
        if server not in self._proxies:
            self._proxies[server] = get_environ_proxies(url)
        known = {**self._proxies[server], **(proxies or {})}
        ours = verify is None or verify is True
        return {"proxies": known, "stream": stream, "verify": self.verify if ours else verify, "cert": cert}


def never_sent(error: requests.RequestException) -> bool:
    """Provably: there was no connection (refused, no such name, not reached in time), or we did not trust it."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    if isinstance(reason, ConnectTimeoutError):  # urllib3 makes refusals and unknown names kinds of it
        return True
    return bool(reason and reason.args and isinstance(reason.args[0], ssl.SSLCertVerificationError))


def retry_after(value: str | None) -> dt.timedelta | None:
    """A Retry-After header in seconds. At most five minutes: no answer of a stranger stops our work for longer."""
    return dt.timedelta(seconds=min(int(value), 300)) if value and value.isdecimal() else None
