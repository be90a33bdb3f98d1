"""The web server's entry point. It refuses to start on a missing or insecure setting."""

import os
import sys
from importlib import import_module

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

# They know who signed a webhook. The providers' SDKs take a while to import: not in the first webhook's time.
ADAPTERS = ("payments.gateways.stripe", "notifications.mailers.sendgrid")


def start() -> WSGIHandler:
    """`manage.py` runs the system checks by itself, a web server does not.

    Raises ImproperlyConfigured where one is an error: on this gunicorn gives up, while it would go on
    replacing a worker that merely exits.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    handler = get_wsgi_application()
    for adapter in ADAPTERS:
        import_module(adapter)
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in found:
        sys.stderr.write(f"{message}\n")
    if any(message.level >= checks.ERROR for message in found):
        raise ImproperlyConfigured("The store does not start with these settings: see the messages above.")
    return handler


application = start()
