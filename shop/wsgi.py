"""The web server's entry point. It refuses to start on a missing or insecure setting."""

import gc
import os
import sys
from importlib import import_module
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import QueryDict

from outbox import prepared

# They know who signed a webhook. The providers' SDKs take a while to import: not in the first webhook's time.
ADAPTERS = ("payments.gateways.stripe", "notifications.mailers.sendgrid")


class Request(WSGIRequest):
    """One whose Content-Type cannot be read has none. Django takes any codec of Python's for a charset (`charset=hex`),
    and where one is named it reads the address's query at once: what fails there would never reach a page of ours."""

    def __init__(self, environ: dict[str, Any]) -> None:
        try:
            super().__init__(environ)
            if self.encoding is not None:
                QueryDict(b"%ff", encoding=self.encoding)  # as it will read the form
        except (LookupError, ValueError, SuspiciousOperation):
            environ["CONTENT_TYPE"] = ""
            vars(self).pop("_encoding", None)
            super().__init__(environ)


def start() -> WSGIHandler:
    """`manage.py` runs the system checks by itself, a web server does not.

    Raises ImproperlyConfigured where one is an error: on this gunicorn gives up, while it would go on
    replacing a worker that merely exits.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    handler = get_wsgi_application()
    handler.request_class = Request
    prepared.plan_once()
    for adapter in ADAPTERS:
        import_module(adapter)
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in found:
        sys.stderr.write(f"{message}\n")
    if any(message.level >= checks.ERROR for message in found):
        raise ImproperlyConfigured("The store does not start with these settings: see the messages above.")
    # What a start has made stays: no request waits 70 ms for all of it to be looked through for garbage.
    gc.collect()
    gc.freeze()
    return handler


application = start()
