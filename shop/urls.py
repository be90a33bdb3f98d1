from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from shop import health, warehouse
from shop.views import cart, catalogue, checkout, orders

urlpatterns = [
    path("", catalogue.catalogue, name="catalogue"),
    path("products/<slug:slug>/", catalogue.product, name="product"),
    path("cart/", cart.cart, name="cart"),
    path("checkout/", checkout.checkout, name="checkout"),
    path("orders/<slug:token>/", orders.order, name="order"),
    # Pages that name no icon of their own, the admin's among them.
    path("favicon.ico", RedirectView.as_view(url=static("shop/favicon.svg"))),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("", include("outbox.urls")),
    path("", include("payments.urls")),
    path("", include("notifications.urls")),
    path("warehouse/picklists/<int:order_id>", warehouse.picklist, name="picklist"),
    path("warehouse/shipments", warehouse.report, name="shipments"),
    path("admin/operations/", include("outbox.operation_urls")),
    path("admin/", admin.site.urls),
]

handler400 = "shop.views.errors.bad_request"
handler403 = "shop.views.errors.permission_denied"
handler404 = "shop.views.errors.not_found"
handler500 = "shop.views.errors.server_error"
