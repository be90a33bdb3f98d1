"""The admin of the store's ledgers: to look at, quickly however many rows there are, and never to edit.

Rows change through operations alone (`outbox.operating`); their buttons stand on the row's page, with the timeline
of the order it belongs to.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode

from outbox import context
from outbox.operating import Operation, Subject, subject_called, subjects
from outbox.tables import csv_lines
from outbox.timeline import timeline

# Rows that a list counts and leads to; whoever looks for an older one searches or filters.
COUNTED = 5000
# Rows of one query of an export: short statements, whatever the length of the whole.
CHUNK = 2000

FoundBy = str | Callable[[str], Q]


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at runtime
    """Counts no further than COUNTED: a whole table's count costs more than the page."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED].count())


class ReadOnly:
    """For everybody, whatever their permissions: rows change through the apps' own functions alone."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # not generic at runtime
    template = "admin/ledger_inline.html"
    extra = 0


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An operation as a button; `refusal` says why it may not be used now."""

    label: str
    url: str
    refusal: str
    explanation: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row on the desk, with what the user may do."""

    row: Model
    title: str
    state: str
    url: str
    offers: tuple[Offer, ...]


class OperableAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A row's page shows what may be done now and, where it belongs to an order, that order's whole story."""

    change_form_template = "admin/ledger_change_form.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = _page_of(request, row) if row is not None and self.has_view_permission(request, row) else {}
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})


class LedgerAdmin(ReadOnly, OperableAdmin):
    """`found_by` are what the search box looks for, exactly and each by an index: a field's name, or a function from
    the term to a condition."""

    change_list_template = "admin/ledger_change_list.html"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count whole tables
    sortable_by: ClassVar[Any] = ()  # only what an index sorts
    ordering: ClassVar[Any] = ["-pk"]
    list_per_page = 50
    actions = None
    found_by: ClassVar[tuple[FoundBy, ...]] = ()
    # Columns that no export shows.
    secret: ClassVar[frozenset[str]] = frozenset()

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Django shows the search box for any; what is looked for is in `found_by`."""
        return ["pk"] if self.found_by else []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(pk__in=[])
        for each in self.found_by:
            wanted |= _exactly(self.model, each, term) if isinstance(each, str) else each(term)
        return queryset.filter(wanted), False

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The filtered list as CSV, newest first, every column; amounts in minor units. An address that the list itself
        cannot read leads to the whole list, as there."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        columns = [field.attname for field in self.opts.concrete_fields if field.attname not in self.secret]
        lines = csv_lines(columns, _in_chunks(rows, columns))
        response = StreamingHttpResponse(
            (line.encode("utf-8-sig" if first else "utf-8") for first, line in _marked(lines)),
            content_type="text/csv; charset=utf-8",
        )
        response["Content-Disposition"] = f'attachment; filename="{self.opts.model_name}.csv"'
        return response


def _exactly(model: type[Model], lookup: str, term: str) -> Q:
    """Nothing, where the term cannot be a value of that field."""
    try:
        field: Any = model._meta.get_field(lookup)
        value = field.to_python(term)
    except ValidationError:
        return Q(pk__in=[])
    return Q(**{lookup: value})


def _in_chunks(rows: QuerySet[Any], columns: list[str]) -> Iterator[tuple[Any, ...]]:
    newest_first = rows.order_by("-pk").values_list("pk", *columns)
    chunk = list(newest_first[:CHUNK])
    while chunk:
        yield from (row[1:] for row in chunk)
        chunk = list(newest_first.filter(pk__lt=chunk[-1][0])[:CHUNK])


def _marked(lines: Iterable[str]) -> Iterator[tuple[bool, str]]:
    """The first line carries the mark by which Excel knows the encoding."""
    return ((number == 0, line) for number, line in enumerate(lines))


# --- the desk ---------------------------------------------------------------------------------------


def _page_of(request: HttpRequest, row: Model) -> dict[str, Any]:
    subject = subject_called(row._meta.label_lower)
    if subject is None:
        return {}
    story = str(subject.story(row))
    own = _item(request, subject, row, all_of_them=True)
    others = _others(request, row, story) if story else []
    return {"desk": own, "others": others, "timeline": timeline(int(story)) if story.isdecimal() else []}


def _others(request: HttpRequest, row: Model, story: str) -> list[Item]:
    """The other rows of the story, each with what may be done now."""
    return [
        _item(request, subject, each)
        for subject in subjects()
        for each in subject.rows(story)
        if each != row and request.user.has_perm(subject.view_permission)
    ]


def _item(request: HttpRequest, subject: Subject[Any], row: Any, *, all_of_them: bool = False) -> Item:
    offers = (_offer(request, subject, operation, row) for operation in subject.operations)
    return Item(
        row=row,
        title=_title(subject, row),
        state=subject.state(row),
        url=reverse(f"admin:{subject.url_name}_change", args=[row.pk]),
        offers=tuple(each for each in offers if each is not None and (all_of_them or not each.refusal)),
    )


def _title(subject: Subject[Any], row: Any) -> str:
    """The row's own name, led by its kind where that does not say it."""
    name, kind = str(row), str(subject.model._meta.verbose_name)
    return name if name.startswith(kind) else f"{kind} {name}"


def _offer(request: HttpRequest, subject: Subject[Any], operation: Operation[Any], row: Any) -> Offer | None:
    if not request.user.has_perm(operation.permission):
        return None
    address = reverse("operate", args=[subject.label, row.pk, operation.name])
    return Offer(
        label=operation.label,
        url=f"{address}?{urlencode({'next': request.path})}",
        refusal=operation.refusal(row, actor=context.current().actor),
        explanation=" ".join((operation.__doc__ or "").split()),
    )
