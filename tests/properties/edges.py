"""What anybody may send to an edge of the store, and what every answer must be.

Never a failure of ours (5xx, but for the honest 503), no traceback, and where the answer is a refusal (4xx) nothing was
written in any table.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st

# A visit and a counted try are no facts of the store: refusals leave them too.
_BESIDES = ("django_session", "shop_trycount", "outbox_feedtoken")
_tables = sorted({model._meta.db_table for model in apps.get_models(include_auto_created=True)} - set(_BESIDES))
_SNAPSHOT = " UNION ALL ".join(
    f"SELECT '{table}', md5(coalesce(string_agg(t::text, ';' ORDER BY t::text), '')) FROM {table} AS t"  # noqa: S608
    for table in _tables
)

_NASTY = ["", "0", "-1", "1", "\0", "a\0b", "\ud800", "é", "\u2028", "\r\nX: y", "1e9", "٣", "NaN", "' OR 1=1 --"]
_HUGE = ["9" * 19, str(2**31), str(2**63 - 1), str(2**63), "9" * 400, "9" * 5000, "x" * 300, "/" + "x" * 3000]
texts = st.sampled_from([*_NASTY, *_HUGE]) | st.text(max_size=30)
numbers = st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, 10**400]) | st.integers(-(2**70), 2**70)
jsons = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# What is no JSON, or none that anybody should read.
_ODD_BODIES = [b"", b"[" * 5000, b'{"a":' * 1200 + b"1" + b"}" * 1200, b"\xff\xfe{\x00}\x00", b'{"a":1,"a":2}', b"NaN"]
bodies = jsons.map(lambda value: json.dumps(value).encode()) | st.sampled_from(_ODD_BODIES) | st.binary(max_size=60)
# Codecs of texts and none at all; others (hex) never come past shop/wsgi.py, which the test client leaves out.
_CODECS = ["utf-16", "utf-7", "latin-1", '"', "x" * 200]
content_types = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "text/plain", "", "multipart/form-data", "/", "a/b;c=d;;="]
) | st.sampled_from(_CODECS).map(lambda codec: f"application/x-www-form-urlencoded; charset={codec}")


def encoded(text: str | bytes) -> str:
    """For an address or a form, also what is no text: a lone surrogate goes as its three bytes."""
    return quote(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"), safe="")


def form(fields: Mapping[str, str | bytes]) -> str:
    return "&".join(f"{encoded(name)}={encoded(value)}" for name, value in fields.items())


class Edge:
    """One client of the store, and the judge of its answers."""

    def __init__(self) -> None:
        self.client = Client(raise_request_exception=False)
        self.before = snapshot()

    def get(self, path: str, query: Mapping[str, str | bytes] | None = None, **options: Any) -> HttpResponse:
        return self._judged("GET", f"{path}?{form(query)}" if query else path, **options)

    def post(self, path: str, body: bytes, *, content_type: str, **options: Any) -> HttpResponse:
        return self._judged("POST", path, data=body, content_type=content_type, **options)

    def send(self, path: str, fields: Mapping[str, str | bytes], **options: Any) -> HttpResponse:
        """A form as browsers send it."""
        return self.post(path, form(fields).encode(), content_type="application/x-www-form-urlencoded", **options)

    def _judged(self, method: str, path: str, **request: Any) -> HttpResponse:
        tell(f"{method} {path[:300]} {request}")
        # `generic` sends the bytes as they are, where `post` would encode them by the charset that we pretend; the
        # type it leaves out where there is no body, as clients need not.
        kind = {"CONTENT_TYPE": request["content_type"]} if "content_type" in request else {}
        response: Any = self.client.generic(method, path, **request, **kind)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        tell(f"{response.status_code} {content[:300]!r}")
        assert response.status_code < 500 or response.status_code == 503
        assert b"Traceback" not in content
        after = snapshot()
        if response.status_code >= 400:
            assert after == self.before, {table for table in after if after[table] != self.before[table]}
        self.before = after
        return response  # type: ignore[no-any-return]


def tell(what: str) -> None:
    """Beside an example that fails."""
    if currently_in_test_context():
        note(what)


def snapshot() -> dict[str, str]:
    """A digest of all rows, by table."""
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        return dict(cursor.fetchall())
