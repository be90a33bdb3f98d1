"""No boundary without a crash point: each point of the table is called, each call outside has a name, each address of
the web server is accounted for."""

import ast
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from outbox.crash_points import POINTS
from outbox.transport import DeadlineSession
from tests.faults.scenarios import MATTERS, SCENARIOS
from tests.faults.striking import PARTS
from tests.web_process import ROOT

APPS = ("outbox", "payments", "shop", "notifications")
# Where a request to the web server changes something, and at which points it may be lost on the way. Everything below
# the admin's operations is one function; the rest of the admin (catalogue, accounts) is Django's own.
ENTRIES = {
    "checkout": {"O1", "O2", "O3"},
    "order": {"X1", "K1"},
    "webhook-stripe": {"W1", "W2", "W3"},
    "webhook-sendgrid": {"W1", "W2", "W3"},
    "feed": {"F1"},
    "feed-ack": {"F3"},
    "shipments": {"F2"},
    "operate": {"A1", "A2"},
}
# Addresses that change nothing, or only a shopper's own cart.
READ_ONLY = {"catalogue", "product", "cart", "favicon", "healthz", "readyz", "metrics", "picklist"}
# Modules that speak HTTP without outbox.transport: they only read, for people and checks, or are not the store.
OTHER_SPEAKERS = {"outbox/sources.py"}
NOT_THE_STORE = ("shop/local/", "shop/simulation/", "shop/management/commands/simulate_")
SPEAKING = {"requests", "urllib.request", "http.client", "httpx", "aiohttp", "smtplib"}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(NOT_THE_STORE):
                yield name, ast.parse(path.read_text())


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def test_every_point_has_a_way_to_it() -> None:
    """That the way leads there is what the test_crashes files prove; between them they have every point."""
    assert set(SCENARIOS) == set(POINTS)
    assert set(MATTERS) <= set(POINTS)
    assert {point[0] for point in POINTS} == set("".join(PARTS.values()))


def test_every_address_is_accounted_for() -> None:
    """A new address needs a crash point before it answers, or a reason why it needs none."""

    def names(resolver: URLResolver) -> Iterator[str]:
        for each in resolver.url_patterns:
            if isinstance(each, URLPattern):
                yield each.name or str(each.pattern).partition(".")[0]
            elif each.namespace != "admin":
                yield from names(each)

    found = set(names(get_resolver()))
    assert found == set(ENTRIES) | READ_ONLY
    assert set().union(*ENTRIES.values()) <= set(POINTS)


def test_only_the_transport_speaks_http() -> None:
    """Others import requests for its exceptions, or send through a DeadlineSession."""
    sending = {"Session", "get", "post", "put", "patch", "delete", "head", "request", "urlopen"}
    found = set()
    for name, tree in _sources():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in sending):
                continue
            base = node.func.value
            if isinstance(base, ast.Name) and base.id in {each.partition(".")[0] for each in SPEAKING}:
                found.add(name)
    assert found == OTHER_SPEAKERS


class _Ok(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture
def server() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Ok) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}/"
        found.shutdown()
        thread.join()


_CALL = """
import django; django.setup()
from outbox.crash_points import calling
from outbox.transport import DeadlineSession
def call():
    with DeadlineSession(deadline=5, connections=1) as session:
        print(session.get({url!r}, timeout=5).status_code)
{how}
"""


def _call(url: str, how: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _CALL.format(url=url, how=how)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_call_outside_of_calling_fails_while_a_test_watches(server: str) -> None:
    answer = _call(server, "call()", CRASH_POINT="P2")
    assert "Nameless: '' is no crash point" in answer.stderr
    named = 'with calling("P2"):\n    call()'
    assert _call(server, named, CRASH_POINT="P2").returncode == -signal.SIGKILL
    assert _call(server, named, CRASH_POINT="P2:2").stdout == "200\n"


def test_nothing_watches_in_production(server: str) -> None:
    with DeadlineSession(deadline=5, connections=1) as session:
        assert session.get(server, timeout=5).status_code == 200


def test_a_process_whose_baton_is_gone_ends(server: str, tmp_path: Path) -> None:
    named = 'with calling("P2"):\n    call()'
    answer = _call(server, named, CRASH_BATON=str(tmp_path / "nobody"))
    assert answer.returncode == -signal.SIGKILL


def test_every_point_is_called_by_a_literal() -> None:
    """A point that nothing in the store names would be a line of the table about nothing."""
    named = {
        node.value
        for name, tree in _sources()
        if name != "outbox/crash_points.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(POINTS) <= named


def test_crash_points_are_never_imported_and_forgotten() -> None:
    for name, tree in _sources():
        if name == "outbox/crash_points.py":
            continue
        imported = any(
            isinstance(node, ast.ImportFrom) and any(each.name == "crash_point" for each in node.names)
            for node in ast.walk(tree)
        )
        assert imported == any(_is_call(node, "crash_point") for node in ast.walk(tree)), name
