from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from shop import selectors
from shop.services import MAX_QUANTITY

# Pieces left from which on a shopper is told how many.
FEW = 5
# Beside a product; one row of the page.
RELATED = 4


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Everything on sale, or one category of it."""
    categories = selectors.categories()
    category = request.GET.get("category", "")
    if category and category not in categories:
        raise Http404
    products = selectors.catalogue(category=category)
    return render(
        request,
        "shop/catalogue.html",
        {"products": products, "categories": categories, "category": category, "few": FEW},
    )


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    shown = get_object_or_404(selectors.catalogue(), slug=slug)
    related = selectors.catalogue(category=shown.category).exclude(pk=shown.pk)[:RELATED]
    available = selectors.available(shown)
    return render(
        request,
        "shop/product.html",
        {
            "product": shown,
            "available": available,
            "quantities": range(1, min(available, MAX_QUANTITY) + 1),
            "related": related,
            "few": FEW,
        },
    )
