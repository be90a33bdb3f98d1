from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from shop import intake, selectors
from shop.cart import Cart
from shop.forms import CartForm
from shop.services import MAX_QUANTITY


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cart(request: HttpRequest) -> HttpResponse:
    """The cart as it stands today; a POST adds, changes or removes one line (CartForm) and comes back.

    While the store takes no orders the page says so, with its status too, and the cart can be filled all the same."""
    if request.method == "POST":
        _change(request, Cart(request.session))
        return redirect("cart")
    shown = selectors.priced(Cart(request.session).lines)
    is_closed = bool(shown.lines) and intake.stopped()
    context = {"priced": shown, "max_quantity": MAX_QUANTITY, "is_closed": is_closed}
    response = render(request, "shop/cart.html", context, status=503 if is_closed else 200)
    if is_closed:
        response["Retry-After"] = str(round(intake.RETRY_AFTER.total_seconds()))
    return response


def _change(request: HttpRequest, cart: Cart) -> None:
    form = CartForm(request.POST)
    if not form.is_valid():
        for problem in {str(problem) for problems in form.errors.values() for problem in problems}:
            messages.error(request, problem)
        return
    product_id, quantity = form.cleaned_data["product"], form.cleaned_data["quantity"] or 1
    match form.cleaned_data["action"]:
        case CartForm.ADD:
            wanted = cart.get(product_id, 0) + quantity
            if cart.add(product_id=product_id, quantity=quantity) < wanted:
                messages.warning(request, f"You can order at most {MAX_QUANTITY} of one product.")
        case CartForm.SET if product_id in cart:
            cart.put(product_id=product_id, quantity=quantity)
        case CartForm.REMOVE:
            cart.remove(product_id=product_id)
