"""Error pages. None of them needs the database or a session: they are shown when those are gone."""

import sys

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import loader

from outbox.database import is_unavailable, log_unavailable

# Seconds. A restart or a failover of PostgreSQL takes about that long; browsers and crawlers come back then.
RETRY_AFTER = 10


def database_trouble(error: BaseException | None) -> BaseException | None:
    """The error if it is the database's and not the request's fault. Django's session store hides such a one behind two
    of its own (django/contrib/sessions/middleware.py)."""
    while isinstance(error, (SessionInterrupted, UpdateError)):
        error = error.__context__
    return error if is_unavailable(error) else None


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if trouble := database_trouble(exception):
        return unavailable(request, trouble)
    return _page("400.html", status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page("403.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page("404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django calls this while it handles the exception."""
    if trouble := database_trouble(sys.exc_info()[1]):
        return unavailable(request, trouble)
    _keep_form(request)
    return _page("500.html", status=500)


def unavailable(request: HttpRequest, trouble: BaseException) -> HttpResponse:
    """503; the broken connection is given up, so that the next request opens another. The log says why."""
    log_unavailable(trouble)
    _keep_form(request)
    if not connection.in_atomic_block:
        connection.close()
    response = _page("503.html", status=503)
    response["Retry-After"] = str(RETRY_AFTER)
    return response


def _keep_form(request: HttpRequest) -> None:
    """So that it can be sent again as it is: Django's `login` makes a new secret against forged requests before it has
    written all, and its cookie would go out with an error, too (django/middleware/csrf.py, `rotate_token`)."""
    request.META["CSRF_COOKIE_NEEDS_UPDATE"] = False


def too_many_tries(request: HttpRequest, *, retry_after: int, order_address: str = "") -> HttpResponse:
    """429 (RFC 6585); `retry_after` in seconds. `order_address` is where a shopper with an order goes back to."""
    response = _page("429.html", status=429, minutes=-(-retry_after // 60), order_address=order_address)
    response["Retry-After"] = str(retry_after)
    return response


def no_orders(request: HttpRequest, *, retry_after: int) -> HttpResponse:
    """503 while nothing can be charged; `retry_after` in seconds. The rest of the store is open."""
    response = _page("no_orders.html", status=503)
    response["Retry-After"] = str(retry_after)
    return response


def _page(template: str, *, status: int, **context: object) -> HttpResponse:
    body = loader.render_to_string(template, {"store_name": settings.STORE_NAME, **context})
    return HttpResponse(body, status=status, headers={"Cache-Control": "no-store"})
