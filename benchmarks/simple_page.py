"""The store's addresses and two more, which a page's cost is compared with: a view that reads the session and renders
a template of the same base, with Django's own sessions and with the store's."""

from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from shop import urls
from shop.cart import Cart

SIMPLE, STORES = "/simple/", "/simple/stores/"
_TEMPLATE = """{% extends "base.html" %}
{% block content %}<div class="wrap"><h1 class="page-title">Simple</h1><p>{{ pieces }} in the cart.</p></div>
{% endblock %}
"""

# Compiled once, as the store's own templates are.
_PAGE = engines["django"].from_string(_TEMPLATE)


def simple(request: HttpRequest) -> HttpResponse:
    """As it would be in any store: `shop.sessions` are part of what was made fast here."""
    request.session = SessionStore(request.session.session_key)
    return stores(request)


def stores(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_PAGE.render({"pieces": Cart(request.session).pieces}, request))


urlpatterns = [path(SIMPLE.lstrip("/"), simple), path(STORES.lstrip("/"), stores), *urls.urlpatterns]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
