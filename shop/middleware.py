"""What surrounds every request: an honest answer while the database is down, the content security policy,
and who caused what."""

from collections.abc import Callable
from functools import cached_property

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from outbox import context
from shop.views import errors

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class DatabaseUnavailableMiddleware:
    """A view that cannot reach the database becomes a 503 page; the next request starts on a new connection.

    Other middleware may fail on it too (the session is saved on the way out); Django gives those errors to the
    handlers of `shop.urls`, which answer in the same way.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        trouble = errors.database_trouble(exception)
        return errors.unavailable(request, trouble) if trouble else None


class ContentSecurityPolicyMiddleware:
    """Sends settings.CONTENT_SECURITY_POLICY with every page."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._policy = "; ".join(
            f"{directive} {' '.join(sources)}" for directive, sources in settings.CONTENT_SECURITY_POLICY.items()
        )

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", self._policy)
        return response


class NoNulMiddleware:
    """No address and no cookie of ours has a NUL character (a quoted one may spell it), and PostgreSQL fails on looking
    for one: nothing is found at such an address, all else is a bad request. Fields of forms refuse it by themselves."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path:
            raise Http404
        if "%00" in request.META["QUERY_STRING"] or any("\0" in value for value in request.COOKIES.values()):
            raise BadRequest("a NUL character")
        return self._get_response(request)


class TraceMiddleware:
    """Binds the context that everything published during the request belongs to.

    The trace of a caller who sent a valid `traceparent` goes on. Only below the admin is the user looked up:
    a shopper has none, and the shop's pages need no query for it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        traceparent = request.META.get("HTTP_TRACEPARENT", "")
        with context.bound(context.Context.new(actor=self._actor(request), traceparent=traceparent)):
            return self._get_response(request)

    @cached_property
    def _admin(self) -> str:
        return reverse("admin:index")

    def _actor(self, request: HttpRequest) -> str:
        if request.path.startswith(self._admin) and request.user.is_authenticated:
            return f"operator:{request.user.get_username()}"
        return "shopper"
