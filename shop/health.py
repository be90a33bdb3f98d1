"""For load balancers, supervisors and Prometheus. /healthz: this process answers. /readyz: it can serve shoppers.
/metrics: what the database knows of the pipeline."""

from functools import cache

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from outbox.metrics import of_the_store


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process is alive; touches neither database nor session."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and holds every migration of this code; otherwise 503 and the reason.

    A database that is ahead is fine: that is the old code during a deploy.
    """
    try:
        missing = _migrations() - MigrationRecorder(connection).applied_migrations().keys()
    except Error:
        connection.close()
        return HttpResponse("the database does not answer\n", status=503, content_type="text/plain")
    if missing:
        return HttpResponse(f"{len(missing)} migrations are missing\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for who has METRICS_TOKEN as a bearer token; 404 for others, and where none is set.
    503 while the database does not answer."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not settings.METRICS_TOKEN or not constant_time_compare(given, settings.METRICS_TOKEN):
        raise Http404
    try:
        return HttpResponse(of_the_store(), content_type=CONTENT_TYPE_LATEST)
    except Error:
        connection.close()
        return HttpResponse("the database does not answer\n", status=503, content_type="text/plain")


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """The newest migrations of every app, read from the code once."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())
