"""Orders, goods and stock for operators: to look at, not to change."""

import re

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from outbox.admin import ReadOnlyAdmin, ReadOnlyInline
from payments.money import display
from shop import selectors
from shop.models import (
    Concern,
    Order,
    OrderDecision,
    OrderLine,
    Product,
    Screening,
    Shipment,
    ShippingMethod,
    Stock,
    StockMovement,
)
from shop.templatetags.store import money


class LineInline(ReadOnlyInline):
    model = OrderLine
    fields = ["product", "name", "unit_price", "quantity", "hold"]


class DecisionInline(ReadOnlyInline):
    model = OrderDecision
    verbose_name_plural = "people's decisions"


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
class OrderAdmin(ReadOnlyAdmin):
    list_display = ["number", "status", "sum", "name", "email", "country", "created_at"]
    list_filter = ["status", "shipping_method", "country"]
    search_fields = ["=id", "=email", "name", "=token"]
    search_help_text = "An order's number, the shopper's address or name, or the end of the order page's address."
    ordering = ["-id"]
    inlines = [LineInline, ScreeningInline, ConcernInline, DecisionInline, ShipmentInline]

    @admin.display(description="total", ordering="total")
    def sum(self, order: Order) -> str:
        return display(amount=order.total, currency=order.currency)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """An order may be named as people do: O-000042."""
        number = re.fullmatch(r"\s*O-0*(\d+)\s*", search_term, flags=re.IGNORECASE)
        return super().get_search_results(request, queryset, number[1] if number else search_term)


@admin.register(Concern)
class ConcernAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "order", "kind", "detail", "owner", "resolved_at", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind"]
    search_fields = ["=order__id", "=owner"]
    list_select_related = ["order"]
    ordering = ["-id"]


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    list_display = ["name", "category", "cost", "available", "active"]
    list_filter = ["category", "active"]
    search_fields = ["name", "slug"]
    list_select_related = ["stock"]

    @admin.display(description="price", ordering="price")
    def cost(self, product: Product) -> str:
        return money(product.price)

    @admin.display(ordering="stock__on_hand")
    def available(self, product: Product) -> int:
        return selectors.available(product)


@admin.register(Stock)
class StockAdmin(ReadOnlyAdmin):
    list_display = ["product", "on_hand", "reserved", "available"]
    search_fields = ["product__name", "product__slug"]
    list_select_related = ["product"]
    ordering = ["product__name"]


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "product", "kind", "quantity", "order", "actor", "reason"]
    list_filter = ["kind"]
    search_fields = ["product__name", "=order__id", "=actor"]
    list_select_related = ["product", "order"]
    ordering = ["-id"]


@admin.register(ShippingMethod)
class ShippingMethodAdmin(ReadOnlyAdmin):
    list_display = ["name", "code", "cost", "days", "position", "active"]

    @admin.display(description="price", ordering="price")
    def cost(self, method: ShippingMethod) -> str:
        return money(method.price)
