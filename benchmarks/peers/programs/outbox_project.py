"""A Django project with django-outbox-pattern and nothing else: its settings."""

import os
import socket
from urllib.parse import urlsplit

from benchmarks.peers.programs.django_project import DATABASES, DEFAULT_AUTO_FIELD, LOGGING_CONFIG, SECRET_KEY, USE_TZ

__all__ = [
    "DATABASES",
    "DEFAULT_AUTO_FIELD",
    "DJANGO_OUTBOX_PATTERN",
    "INSTALLED_APPS",
    "LOGGING_CONFIG",
    "SECRET_KEY",
    "USE_TZ",
]

_broker = urlsplit(os.environ["BROKER_URL"])
INSTALLED_APPS = ["django_outbox_pattern"]
DJANGO_OUTBOX_PATTERN = {
    "DEFAULT_STOMP_HOST_AND_PORTS": [(_broker.hostname, _broker.port)],
    "DEFAULT_STOMP_VHOST": socket.getfqdn(),  # CoilMQ serves no other
    "DEFAULT_CONNECTION_CLASS": "benchmarks.peers.programs.django_outbox_pattern.Connection",
    "DEFAULT_PRODUCER_WAITING_TIME": 1,  # seconds, whole ones: less would be none
}
