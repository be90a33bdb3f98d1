"""The store's addresses and one more, which a page's cost is compared with: a view that reads the session and renders
a template of the same base."""

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from shop import urls
from shop.cart import Cart

ADDRESS = "/simple/"
_TEMPLATE = """{% extends "base.html" %}
{% block content %}<div class="wrap"><h1 class="page-title">Simple</h1><p>{{ pieces }} in the cart.</p></div>
{% endblock %}
"""

# Compiled once, as the store's own templates are.
_PAGE = engines["django"].from_string(_TEMPLATE)


def simple(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_PAGE.render({"pieces": Cart(request.session).pieces}, request))


urlpatterns = [path(ADDRESS.lstrip("/"), simple), *urls.urlpatterns]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
