"""A partner's machine at the store's own addresses: bearer token, JSON, no cookies, CSRF checked as in life."""

from typing import Any

from django.http import HttpResponse
from django.test import Client

from outbox import feed_tokens

Json = dict[str, Any]


class Partner:
    """Without `token` one is made for the feed."""

    def __init__(self, feed: str, *, token: str | None = None, name: str = "partner") -> None:
        self.token = feed_tokens.create(feed=feed, name=name) if token is None else token
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def get(self, path: str, **query: Any) -> HttpResponse:
        response: Any = self.client.get(path, query, headers=self._headers())
        return response  # type: ignore[no-any-return]

    def post(self, path: str, body: Any, *, content_type: str = "application/json") -> HttpResponse:
        """`body` is sent as it is when it is bytes, as JSON otherwise."""
        response: Any = self.client.post(path, body, content_type=content_type, headers=self._headers())
        return response  # type: ignore[no-any-return]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def read(response: HttpResponse) -> Json:
    answer: Json = response.json()  # type: ignore[attr-defined]  # the test client adds it
    return answer


def problem(response: HttpResponse) -> tuple[int, str]:
    """Status and code of an answer that is a problem, as RFC 9457 wants it."""
    assert response["Content-Type"] == "application/problem+json"
    said = read(response)
    assert said["type"] == "about:blank"
    assert said["status"] == response.status_code
    assert said["title"]
    assert said["detail"]
    return response.status_code, said["code"]
