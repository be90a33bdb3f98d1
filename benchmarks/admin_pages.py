"""The pages that operators live on, of whatever history is loaded: lists, filters, searches, rows, operations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse

from notifications.models import Message
from outbox.models import ParkedEvent, Subscription
from payments.models import BankEvent, Dispute, Payment, Refund
from shop.models import Concern, Order, Screening, Shipment

APPS = ("outbox", "payments", "shop", "notifications")
OPERATOR = "benchmark"
UNKNOWN = "nobody@customers.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`name` is the same for every history, so that two of them can be compared. `open` raises RuntimeError where the
    page cannot be shown."""

    name: str
    open: Callable[[], None]
    url: str = ""


class Pages:
    """Everything as an operator who may do anything sees it; makes that operator where there is none."""

    def __init__(self, host: str) -> None:
        self.user = User.objects.filter(username=OPERATOR).first() or User.objects.create_superuser(OPERATOR)
        # The host and HTTPS that the settings ask for.
        self._client = Client(SERVER_NAME=host, raise_request_exception=False)
        self._client.force_login(self.user)

    def __iter__(self) -> Iterator[Page]:
        for model in lists():
            yield from self.of_list(model)
        yield from self.others()

    def others(self) -> Iterator[Page]:
        """Everything that is no list."""
        yield self._page("admin", reverse("admin:index"))
        yield from self._rows()
        yield from self._operations()
        yield Page(name="pipeline_status --json", open=_pipeline_status)
        yield self._page("the customer's order page", _middle(Order).get_absolute_url())

    def of_list(self, model: type[Model]) -> Iterator[Page]:
        """The list itself, each choice of each filter, a search by each kind of term, and near its end."""
        name, url = model._meta.label, _changelist(model)
        yield self._page(name, url)
        shown = self.changelist(model, url)
        for spec in shown.filter_specs:
            for choice in list(spec.choices(shown))[1:]:  # the first is all
                yield self._page(f"{name}: {spec.title} = {choice['display']}", url + choice["query_string"])
        for kind, term in _terms(model):
            yield self._page(f"{name}: found by {kind}", f"{url}?q={term}")
        if shown.paginator.num_pages > 2:
            yield self._page(f"{name}: the second last page", f"{url}?p={shown.paginator.num_pages - 1}")

    def changelist(self, model: type[Model], url: str) -> Any:
        """Django's own object behind a list's page."""
        request = RequestFactory().get(url)
        request.user = self.user
        return admin.site._registry[model].get_changelist_instance(request)

    def _rows(self) -> Iterator[Page]:
        for model in (Order, Payment, Message, ParkedEvent, Refund, Dispute, Concern):
            row = _middle(model)
            yield self._page(
                f"{model._meta.label}: a row's page", reverse(f"admin:{_url_name(model)}_change", args=[row.pk])
            )

    def _operations(self) -> Iterator[Page]:
        for model, operation in (
            (Payment, "refund"),
            (Order, "cancel"),
            (Message, "resend"),
            (ParkedEvent, "retry"),
            (Concern, "resolve"),
            (Subscription, "replay"),
        ):
            label = model._meta.label_lower
            yield self._page(
                f"{label}: confirm {operation}", reverse("operate", args=[label, _middle(model).pk, operation])
            )

    def _page(self, name: str, url: str) -> Page:
        def get() -> None:
            response: Any = self._client.get(url, secure=True)
            if response.status_code != 200:
                raise RuntimeError(f"{url} answered {response.status_code}")

        return Page(name=name, open=get, url=url)


def lists() -> list[type[Model]]:
    """The models that the store's own apps show at the admin."""
    return [model for model in admin.site._registry if model._meta.app_label in APPS]


def _terms(model: type[Model]) -> Iterator[tuple[str, str]]:
    """What people look for in that list: a kind and an example from the middle of the history."""
    order = _middle(Order)
    payment = Payment.objects.get(order_id=order.pk)
    by_order = [("order number", order.number)]
    by_payment = [*by_order, ("order id", str(order.pk)), ("intent", payment.intent_id)]
    found: dict[str, list[tuple[str, str]]] = {
        "shop.Order": [*by_order, ("e-mail", order.email), ("name", order.name), ("token", order.token)],
        "shop.Concern": by_order,
        "shop.Screening": [*by_order, ("reference", str(_middle(Screening).public_id))],
        "shop.Shipment": [*by_order, ("reference", _middle(Shipment).reference)],
        "shop.StockMovement": [*by_order, ("product", "forest-axe")],
        "shop.Product": [("name", "lamp")],
        "payments.Payment": [*by_payment, ("our id", str(payment.public_id))],
        "payments.Refund": [*by_payment, ("the bank's id", _middle(Refund).refund_id)],
        "payments.PaymentAttempt": by_payment,
        "payments.Dispute": [*by_payment, ("the bank's id", _middle(Dispute).dispute_id)],
        "payments.BankEvent": [("event", _middle(BankEvent).event_id), ("intent", payment.intent_id)],
        "notifications.Message": [*by_order, ("recipient", order.email), ("our id", str(_middle(Message).public_id))],
        "notifications.MailEvent": [*by_order, ("message id", str(_middle(Message).public_id))],
        "outbox.Event": [("order id", str(order.pk))],
        "outbox.ParkedEvent": [("order id", str(order.pk))],
        "outbox.Decision": [("order id", str(order.pk))],
        "outbox.FeedToken": [("name", "north")],
    }
    mine = found.get(model._meta.label, [])
    yield from mine
    if mine:
        yield "what is not there", UNKNOWN


def _middle(model: type[Model]) -> Any:
    """A row from the middle of the numbers. Raises LookupError where there is none."""
    rows = model._default_manager.all()
    if model is Order:
        rows = rows.filter(status=Order.Status.SHIPPED)
    name = model._meta.pk.name
    newest = rows.order_by("-pk").first()
    if newest is None:
        raise LookupError(f"There is no {model._meta.verbose_name}: load a history first (benchmarks.history).")
    if not isinstance(newest.pk, int):
        return newest
    oldest: Any = rows.order_by("pk").first()
    return rows.filter(**{f"{name}__gte": (oldest.pk + newest.pk) // 2}).order_by("pk").first()


def _pipeline_status() -> None:
    class Nowhere:
        def write(self, text: str) -> None:
            """Only the time counts."""

    call_command("pipeline_status", "--json", stdout=Nowhere())


def _url_name(model: type[Model]) -> str:
    return f"{model._meta.app_label}_{model._meta.model_name}"


def _changelist(model: type[Model]) -> str:
    return reverse(f"admin:{_url_name(model)}_changelist")
