"""What calls to providers take from the environment, and what they do not."""

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests.utils

from outbox import transport
from outbox.transport import DeadlineSession


class _Recorder(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Noting)
        self.requests: list[list[str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Noting(socketserver.StreamRequestHandler):
    server: _Recorder

    def handle(self) -> None:
        """Every request of a kept-alive connection."""
        lines: list[str] = []
        for line in self.rfile:
            lines.append(line.decode().strip())
            if not lines[-1]:
                self.server.requests.append(lines)
                lines = []
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def server() -> Iterator[_Recorder]:
    with _Recorder() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_proxy_of_the_environment_is_used(server: _Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with DeadlineSession(deadline=5, connections=1) as session:
        assert session.get("http://bank.example/x", timeout=5).status_code == 200
        assert session.get(f"{server.url}/near", timeout=5).status_code == 200
    assert [each[0] for each in server.requests] == ["GET http://bank.example/x HTTP/1.1", "GET /near HTTP/1.1"]


def test_the_environment_is_read_once(server: _Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def counted(url: str) -> dict[str, str]:
        looked.append(url)
        return requests.utils.get_environ_proxies(url)

    monkeypatch.setattr(transport, "get_environ_proxies", counted)
    with DeadlineSession(deadline=5, connections=1) as session:
        for _ in range(3):
            session.get(server.url, timeout=5)
    assert (len(looked), len(server.requests)) == (1, 3)


def test_nobodys_netrc_replaces_our_key(server: _Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with DeadlineSession(deadline=5, connections=1) as session:
        session.get(server.url, headers={"Authorization": "Bearer ours"}, timeout=5)
    assert "Authorization: Bearer ours" in server.requests[0]


@pytest.mark.parametrize(
    ("given", "becomes"), [(None, "/their/bundle"), (True, "/their/bundle"), (False, False), ("/ours", "/ours")]
)
def test_certificates_of_the_environment_are_used_where_none_are_named(
    given: bool | str | None, becomes: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/their/bundle")
    with DeadlineSession(deadline=5, connections=1) as session:
        assert session.merge_environment_settings("https://bank.example", {}, None, given, None)["verify"] == becomes
