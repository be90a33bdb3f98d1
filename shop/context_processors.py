"""What every page shows around its content."""

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from shop.cart import Cart


def store(request: HttpRequest) -> dict[str, object]:
    """The store's name, whether it only plays with test cards, and the cart.

    The session is read only by a template that shows the cart.
    """
    return {
        "store_name": settings.STORE_NAME,
        "is_test_store": settings.STRIPE_PUBLISHABLE_KEY.startswith("pk_test_"),
        "cart": SimpleLazyObject(lambda: Cart(request.session)),
    }
