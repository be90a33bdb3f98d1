"""What only a real server shows: bytes as they come from the network, before Django has made a request of them."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.edges import encoded, snapshot, texts
from tests.properties.profiles import tried
from tests.web_process import WebProcess

_MANY = "/?" + "&".join(["a=%41"] * 1001)
_PATHS = [
    _MANY,
    "/?category=%41",
    "/cart/?a=%FF",
    "/checkout/",
    "/healthz?x=%41",
    "/feeds/warehouse?after=%41",
    "/admin/login/?next=%41",
]
_CODECS = ["hex", "rot13", "zlib", "idna", "punycode", "undefined", "mbcs", "utf-16", "utf-7", "latin-1", "\u00e9", '"']
_KINDS = [
    "text/plain; charset=",
    "multipart/form-data; boundary=x; charset=",
    "application/x-www-form-urlencoded; charset=",
]

kinds = st.builds(str.__add__, st.sampled_from(_KINDS), st.sampled_from(_CODECS)) | st.sampled_from(
    ["text/plain; a*=hex''b", "text/plain; charset*=hex''b", "x" * 9000 + "; a=b", "; ;=;"]
)
cookies = st.sampled_from(
    [
        "",
        r'sessionid="aaaaaaaa\000bbbbbbbb"',
        r'csrftoken="\000"',
        r'messages="\000"',
        "sessionid=aaaaaaaaaaaa; =;;",
        "é",
    ]
)


class Server:
    def __init__(self, web: WebProcess) -> None:
        parts = urlsplit(web.url)
        self._address = (parts.hostname or "", parts.port or 0)

    def asked(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and the whole answer."""
        given = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        with socket.create_connection(self._address, timeout=20) as link:
            link.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            answer = b"".join(iter(lambda: link.recv(65536), b""))
        return int(answer.split(b" ", 2)[1]), answer


@pytest.fixture
def server(store: None, tmp_path: Path) -> Iterator[Server]:
    with WebProcess(tmp_path / "web.log") as web:
        yield Server(web.start())


@tried(40)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    path=st.sampled_from(_PATHS),
    kind=kinds,
    cookie=cookies,
    text=texts,
)
@example(method="GET", path="/?category=%41", kind="text/plain; charset=hex", cookie="", text="")
@example(method="POST", path="/cart/", kind="multipart/form-data; boundary=x; charset=hex", cookie="", text="")
@example(method="GET", path=_MANY, kind="text/plain; charset=utf-8", cookie="", text="")
@example(method="GET", path="/cart/", kind="", cookie=r'sessionid="aaaaaaaa\000bbbbbbbb"', text="")
def test_no_request_is_too_odd_for_an_answer(
    server: Server, method: str, path: str, kind: str, cookie: str, text: str
) -> None:
    before = snapshot()
    body = f'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{encoded(text)}\r\n--x--\r\n'.encode()
    status, answer = server.asked(method, path, body, {"Content-Type": kind, "Cookie": cookie})
    assert status < 500, answer
    assert b"Traceback" not in answer
    assert snapshot() == before
