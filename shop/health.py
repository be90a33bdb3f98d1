"""For load balancers and supervisors. /healthz: this process answers. /readyz: it can serve shoppers."""

from functools import cache

from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


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


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """The newest migrations of every app, read from the code once."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())
