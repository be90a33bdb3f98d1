"""Filters of long lists that need no index of their own."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest

# Rows, counted by their numbers, among which a rare value is looked for: read in well under a second without an index,
# which every write of a busy table would have to pay for.
NEWEST = 100_000


def among_newest(field: str, values: Callable[[], Iterable[str]], *, title: str = "") -> type[admin.SimpleListFilter]:
    """A filter of one column that looks at the newest rows only, and says so."""

    class AmongNewest(admin.SimpleListFilter):
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value or "(none yet)") for value in values()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            if self.value() is None:
                return queryset
            newest = queryset.model._default_manager.aggregate(newest=Max("pk"))["newest"] or 0
            return queryset.filter(pk__gt=newest - NEWEST, **{field: self.value()})

    AmongNewest.title = f"{title or field.replace('_', ' ')} (newest {NEWEST:,})"
    return AmongNewest


def one_of(field: str, values: Callable[[], Iterable[str]], *, title: str = "") -> type[admin.SimpleListFilter]:
    """A filter of one column whose values are known, so that no query has to collect them."""

    class OneOf(admin.SimpleListFilter):
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in values()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset if self.value() is None else queryset.filter(**{field: self.value()})

    OneOf.title = title or field.replace("_", " ")
    return OneOf


def blocked(unsettled: Collection[str]) -> type[admin.SimpleListFilter]:
    """A filter of claimed rows that wait for a person. Only rows of `unsettled` statuses can: that leads to them
    through the index over statuses, instead of past all rows that have ended."""

    class Blocked(admin.SimpleListFilter):
        title = "blocked"
        parameter_name = "blocked"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [("yes", "Waits for a person")]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            if self.value() is None:
                return queryset
            return queryset.filter(~Q(blocked_reason=""), status__in=sorted(unsettled))

    return Blocked
