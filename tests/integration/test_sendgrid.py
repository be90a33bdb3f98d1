"""What the adapter makes of answers and of broken connections, from a provider that does just what it is told."""

import datetime as dt
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message as Headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from notifications.mailers.base import Outcome, Receipt
from notifications.mailers.sendgrid import SendGridMailer
from notifications.models import Message

ADDRESS = "ada@example.org"


class Provider(ThreadingHTTPServer):
    """Sends `answer`, byte for byte, `pause` seconds between bytes; then it hangs up."""

    daemon_threads = True

    def __init__(self, answer: bytes, *, pause: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.pause = answer, pause
        self.requests: list[tuple[str, Headers]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers))
        try:
            if not self.server.pause:
                self.wfile.write(self.server.answer)
                return
            for each in self.server.answer:
                self.wfile.write(bytes([each]))
                time.sleep(self.server.pause)
        except OSError:
            pass  # the client has had enough

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def answering(answer: bytes, *, pause: float = 0.0, tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    server = Provider(answer, pause=pause)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} So", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def send(base: str, *, timeout: float = 5.0) -> Receipt:
    mailer = SendGridMailer(
        api_key="SG.key",
        api_base=base,
        sender="orders@store.example",
        sender_name="Store",
        templates={},
        timeout=timeout,
        connections=1,
    )
    return mailer.send(
        Message(template="t", order_number="O-1", recipient=ADDRESS, subject="s", text="t", html="<p>t</p>")
    )


def answered(answer: bytes) -> Receipt:
    with answering(answer) as server:
        return send(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (202, Outcome.ACCEPTED),
        (200, Outcome.AMBIGUOUS),
        (302, Outcome.AMBIGUOUS),
        (400, Outcome.REFUSED),
        (401, Outcome.MISCONFIGURED),
        (403, Outcome.MISCONFIGURED),
        (404, Outcome.MISCONFIGURED),
        (408, Outcome.AMBIGUOUS),
        (413, Outcome.REFUSED),
        (429, Outcome.NOT_SENT),
        (500, Outcome.AMBIGUOUS),
        (503, Outcome.AMBIGUOUS),
    ],
)
def test_each_status_has_its_meaning(status: int, outcome: Outcome) -> None:
    receipt = answered(http(status, X_Message_Id="abc"))
    assert (receipt.outcome, receipt.http_status, receipt.provider_id) == (outcome, status, "abc")


def test_one_request_is_made_and_no_redirect_followed() -> None:
    with answering(b"") as server:
        base = f"http://127.0.0.1:{server.server_port}"
        server.answer = http(302, Location=f"{base}/elsewhere")
        send(base)
        ((path, headers),) = server.requests
    assert path == "/v3/mail/send"
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer SG.key", "application/json")
    assert headers["Connection"] == "close"


def test_the_provider_s_words_are_kept_without_the_address() -> None:
    errors = f'{{"errors": [{{"message": "not a mailbox: {ADDRESS}", "field": "to"}}, {{"message": "x"}}]}}'
    receipt = answered(http(400, errors.encode()))
    assert receipt.detail == "to: not a mailbox: …; x"


def test_the_time_asked_for_is_bounded() -> None:
    assert answered(http(429, Retry_After="7")).retry_after == dt.timedelta(seconds=7)
    assert answered(http(429, Retry_After="86400")).retry_after == dt.timedelta(minutes=5)
    assert answered(http(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")).retry_after is None


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20", b"garbage\r\n\r\n", http(202, b"{}")[:-1]])
def test_an_answer_that_ends_too_soon_proves_nothing(answer: bytes) -> None:
    assert answered(answer).outcome == Outcome.AMBIGUOUS


def test_a_dripping_answer_ends_with_the_deadline() -> None:
    with answering(http(202), pause=0.1) as server:
        receipt = send(f"http://127.0.0.1:{server.server_port}", timeout=0.5)
    assert receipt.outcome == Outcome.AMBIGUOUS
    assert receipt.duration < dt.timedelta(seconds=2)


@pytest.mark.parametrize("base", ["http://127.0.0.1:9", "https://127.0.0.1:9", "http://nobody.invalid"])
def test_what_was_never_reached_was_never_sent(base: str) -> None:
    receipt = send(base)
    assert (receipt.outcome, receipt.http_status) == (Outcome.NOT_SENT, None)
    assert receipt.detail


def test_a_stranger_s_certificate_gets_nothing(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*new, "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1", "-days", "1"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(http(202), tls=context) as server:
        receipt = send(f"https://127.0.0.1:{server.server_port}")
        assert server.requests == []
    assert receipt.outcome == Outcome.NOT_SENT
