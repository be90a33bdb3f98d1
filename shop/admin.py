"""Orders, goods and stock, for operators."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.http import HttpRequest

from outbox.ledger_admin import LedgerAdmin, OperableAdmin, ReadOnlyInline
from outbox.ledger_filters import among_newest
from payments.money import display
from shop import selectors
from shop.models import (
    Concern,
    Order,
    OrderLine,
    Product,
    Screening,
    Shipment,
    ShippingMethod,
    Stock,
    StockMovement,
)
from shop.templatetags.store import money


def _number(term: str) -> Q:
    return Q(pk=selectors.order_id_called(term))


def _of_order(term: str) -> Q:
    """Nothing, where the term names no order: rows without one are not meant."""
    number = selectors.order_id_called(term)
    return Q(pk__in=[]) if number is None else Q(order=number)


def _of_product(term: str) -> Q:
    return Q(product__in=list(Product.objects.filter(slug=term).values_list("pk", flat=True)))


def _email(term: str) -> Q:
    return Q(Exact(Lower(F("email")), term.lower()))


def _name(term: str) -> Q:
    return Q(Exact(Lower(F("name")), term.lower()))


class LineInline(ReadOnlyInline):
    model = OrderLine
    fields = ["product", "name", "unit_price", "quantity", "hold"]


class ScreeningInline(ReadOnlyInline):
    model = Screening
    fields = ["status", "decides", "attempts", "outcome", "detail", "blocked_reason", "created_at", "settled_at"]


class ShipmentInline(ReadOnlyInline):
    model = Shipment
    verbose_name_plural = "the warehouse's reports"


class ConcernInline(ReadOnlyInline):
    model = Concern
    fields = ["created_at", "kind", "detail", "owner", "resolved_at", "resolved_by", "resolution"]


@admin.register(Order)
class OrderAdmin(LedgerAdmin):
    list_display = ["number", "status", "sum", "name", "email", "country", "created_at"]
    list_filter = ["status", among_newest("country", lambda: settings.SHIPPING_COUNTRIES)]
    found_by = (_number, _email, _name, "token")
    search_help_text = "An order's number, the shopper's address or full name, or the end of the order page's address."
    inlines = [LineInline, ScreeningInline, ConcernInline, ShipmentInline]

    @admin.display(description="total")
    def sum(self, order: Order) -> str:
        return display(amount=order.total, currency=order.currency)


@admin.register(Concern)
class ConcernAdmin(LedgerAdmin):
    list_display = ["created_at", "order", "kind", "detail", "owner", "resolved_at", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter)]
    found_by = (_of_order,)
    search_help_text = "An order's number."
    list_select_related = ["order"]


@admin.register(Screening)
class ScreeningAdmin(LedgerAdmin):
    list_display = ["created_at", "order", "status", "decides", "attempts", "outcome", "blocked_reason", "settled_at"]
    list_filter = ["status"]
    found_by = (_of_order, "public_id")
    search_help_text = "An order's number, or our reference."
    list_select_related = ["order"]


@admin.register(Shipment)
class ShipmentAdmin(LedgerAdmin):
    list_display = ["created_at", "order", "kind", "reference", "carrier", "tracking", "reported_by"]
    found_by = (_of_order, "reference")
    search_help_text = "An order's number, or the warehouse's reference."
    list_select_related = ["order"]


class EditableAdmin(OperableAdmin):
    """The catalogue is edited here; an order keeps the prices and names that it was placed with."""

    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # orders point at it: take it off sale instead


@admin.register(Product)
class ProductAdmin(EditableAdmin):
    list_display = ["name", "category", "cost", "available", "active"]
    list_filter = ["category", "active"]
    search_fields = ["name", "slug"]
    list_select_related = ["stock"]
    prepopulated_fields: ClassVar = {"slug": ["name"]}
    exclude = ["created_at"]

    @admin.display(description="price", ordering="price")
    def cost(self, product: Product) -> str:
        return money(product.price)

    @admin.display(ordering="stock__on_hand")
    def available(self, product: Product) -> int:
        return selectors.available(product)


@admin.register(Stock)
class StockAdmin(LedgerAdmin):
    """Numbers only: goods that come and go are recorded on the product's page."""

    list_display = ["product", "on_hand", "reserved", "available"]
    list_select_related = ["product"]
    ordering = ["product__name"]


@admin.register(StockMovement)
class StockMovementAdmin(LedgerAdmin):
    list_display = ["created_at", "product", "kind", "quantity", "order", "actor", "reason"]
    list_filter = ["kind"]
    found_by = (_of_order, _of_product)
    search_help_text = "An order's number, or the last part of a product's address."
    list_select_related = ["product", "order"]


@admin.register(ShippingMethod)
class ShippingMethodAdmin(EditableAdmin):
    list_display = ["name", "code", "cost", "days", "position", "active"]

    @admin.display(description="price", ordering="price")
    def cost(self, method: ShippingMethod) -> str:
        return money(method.price)
