"""Who may change something without a form's token: this list and nobody else."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# Machines, whose bearer token or signature no browser sends by itself.
ALLOWED = {"feed", "feed-ack", "picklist", "shipments", "webhook-stripe", "webhook-sendgrid"}


def patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            yield from patterns(each)
        else:
            yield each


def test_only_these_are_exempt() -> None:
    exempt: set[Any] = {each.name for each in patterns(get_resolver()) if getattr(each.callback, "csrf_exempt", False)}
    assert exempt == ALLOWED
