"""HTTP for the machines of partners outside: bearer tokens in, JSON out, errors as problem details (RFC 9457)."""

import re
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Literal, TypeVar

import msgspec
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from msgspec.structs import replace

from outbox import context, feed_tokens
from outbox.database import is_unavailable, log_unavailable

T = TypeVar("T")
View = Callable[..., HttpResponse]

# Bytes. The longest body that is valid anywhere has a few hundred.
LONGEST_BODY = 8 * 1024
# Seconds. A restart of PostgreSQL takes about that long.
RETRY_AFTER = 5

_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Problem(Exception):
    """An error for the caller; a view raises it. `code` is for programs, `detail` for people; `extensions` are
    further members of the answer."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extensions: object
    ) -> None:
        super().__init__(detail)
        self._status = HTTPStatus(status)
        self._members = {"code": code, "detail": detail, **extensions}
        self._headers = headers or {}

    def response(self) -> HttpResponse:
        body = {"type": "about:blank", "title": self._status.phrase, "status": self._status.value, **self._members}
        return JsonResponse(
            body, status=self._status.value, content_type="application/problem+json", headers=self._headers
        )


def partner_view(method: Literal["GET", "POST"], *, scope: str | None = None) -> Callable[[View], View]:
    """Make a view of one method that needs a token of the feed `scope`, or of the address's `name`.

    Nothing of it needs a cookie, a session or a form's token: the bearer is all, and no browser sends it by itself.
    The view is called with the keyword `partner`, the name on the token, which also becomes the actor of all that it
    publishes. It may raise Problem.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **arguments: object) -> HttpResponse:
            try:
                _refuse_other_methods(request, method)
                partner = _partner(request, scope=scope or str(arguments["name"]))
                with context.bound(replace(context.current(), actor=f"partner:{partner}")):
                    response = view(request, partner=partner, **arguments)
            except Problem as problem:
                response = problem.response()
            except Error as error:
                if not is_unavailable(error):
                    raise
                log_unavailable(error)
                response = _unavailable()
            response["Cache-Control"] = "no-store"
            return response

        return csrf_exempt(answer)

    return decorate


def body_of(request: HttpRequest, kind: type[T]) -> T:
    """The JSON body as that type, strictly. Raises Problem: 413, 415, or 422 that says what is wrong where."""
    if request.content_type != "application/json":
        raise Problem(415, "not_json", "Send the body as application/json.")
    try:
        body = request.read(LONGEST_BODY + 1)
    except UnreadablePostError:
        raise Problem(400, "body_cut", "The body did not arrive.") from None
    if len(body) > LONGEST_BODY:
        raise Problem(413, "body_too_large", f"A body has at most {LONGEST_BODY} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(422, "invalid_body", str(error)) from error


def _refuse_other_methods(request: HttpRequest, method: str) -> None:
    allowed = ("GET", "HEAD") if method == "GET" else (method,)
    if request.method not in allowed:
        raise Problem(
            405, "method_not_allowed", f"This address takes {method} only.", headers={"Allow": ", ".join(allowed)}
        )


def _partner(request: HttpRequest, *, scope: str) -> str:
    """The name on the request's token. Raises Problem: 401, or 403 for another feed's (RFC 6750)."""
    challenge = 'Bearer realm="feeds"'
    bearer = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    if bearer is None:
        raise Problem(
            401, "token_missing", "Send `Authorization: Bearer <token>`.", headers={"WWW-Authenticate": challenge}
        )
    token = feed_tokens.authenticate(bearer[1])
    if token is None:
        raise Problem(
            401,
            "token_invalid",
            "This token is unknown or revoked.",
            headers={"WWW-Authenticate": f'{challenge}, error="invalid_token"'},
        )
    if token.feed != scope:
        raise Problem(
            403,
            "wrong_scope",
            f"This token is for {token.feed} only.",
            headers={"WWW-Authenticate": f'{challenge}, error="insufficient_scope", scope="{scope}"'},
        )
    return token.name


def _unavailable() -> HttpResponse:
    """The broken connection is given up, so that the next request opens another."""
    if not connection.in_atomic_block:
        connection.close()
    later = {"Retry-After": str(RETRY_AFTER)}
    return Problem(503, "unavailable", "The store cannot reach its database; ask again.", headers=later).response()
