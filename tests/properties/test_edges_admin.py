"""Whatever somebody who is logged in types into the admin's addresses and forms."""

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from hypothesis import example, given
from hypothesis import strategies as st

from outbox.operating import look, subject_called
from shop.groups import ADMINISTRATOR, APPROVER
from tests.integration.admin.operators import Operator, address
from tests.integration.admin.scenarios import SCENARIOS
from tests.properties.edges import Edge, encoded, texts
from tests.properties.profiles import tried

OURS = ("outbox", "payments", "shop", "notifications", "auth")
anything = texts | st.binary(max_size=8)
# What Django and our own lists read from an address.
PARAMETERS = [
    *("q", "p", "o", "all", "e", "_facets", "_popup", "_to_field", "_changelist_filters", "blocked", "status", "kind"),
    *(
        "status__exact",
        "status__in",
        "pk",
        "id__in",
        "id__gte",
        "created_at__gte",
        "created_at__isnull",
        "order__token",
    ),
]


class Desk(Edge):
    """An administrator, who may also approve, and a row for every operation."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Model] = {key: each.prepare() for key, each in SCENARIOS.items()}
        client = Operator(ADMINISTRATOR, APPROVER).client
        super().__init__()
        self.client.cookies = client.cookies


def models() -> list[Any]:
    return [model for model in admin.site._registry if model._meta.app_label in OURS]


@pytest.fixture
def edge(store: None) -> Desk:
    return Desk()


def parameters(model: Any) -> list[str]:
    named = [getattr(each, "parameter_name", each) for each in admin.site._registry[model].list_filter]
    return [*PARAMETERS, *(str(each) for each in named if not isinstance(each, tuple)), model._meta.pk.name]


@pytest.mark.parametrize(
    "path",
    [
        "/admin/shop/order/csv/?x=1",
        "/admin/outbox/subscription/a%00b/change/",
        "/admin/payments/payment/?status=%00",
        "/admin/shop/order/csv/?status__exact=%00",
    ],
)
def test_addresses_that_were_failures(edge: Desk, path: str) -> None:
    assert edge.get(path).status_code in (302, 400, 404)


@tried(40)
@given(data=st.data())
def test_lists(edge: Desk, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(models()))
    names = st.sampled_from(parameters(model)) | texts
    query = data.draw(st.dictionaries(names, anything, min_size=1, max_size=2))
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    edge.get(path, query)
    edge.get(f"{path}csv/", query)
    edge.get(f"{path}{data.draw(texts.map(encoded))}/change/", query)


@tried(40)
@given(data=st.data())
def test_operations(edge: Desk, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(edge.rows)))
    row = edge.rows[key]
    subject = subject_called(key[0])
    assert subject is not None
    fresh = type(row)._base_manager.filter(pk=row.pk).first()
    right = {
        "token": str(uuid.uuid4()),
        "seen": str(look(subject, fresh)) if fresh is not None else "",
        "reason": "the customer called",
        **SCENARIOS[key].values,
    }
    names = st.sampled_from([*right, "amount", "quantity", "position", "next", "x"])
    wrong = data.draw(st.dictionaries(names, anything, max_size=2))
    edge.send(address(row, key[1]), {**right, **wrong})


@tried(30)
@example(label="outbox.subscription", pk="a\0b", name="retry", next="x")
@example(label="outbox.subscription", pk="messages", name="pause", next="no path")
@given(
    label=texts | st.sampled_from(sorted({label for label, _ in SCENARIOS})),
    pk=texts,
    name=st.just("retry") | texts,
    next=texts,
)
def test_addresses_of_operations(edge: Desk, label: str, pk: str, name: str, next: str) -> None:
    path = f"/admin/operations/{encoded(label)}/{encoded(pk)}/{encoded(name)}/"
    edge.get(path, {"next": next})
    edge.send(path, {"next": next, "token": str(uuid.uuid4()), "reason": "x"})


FORMS: dict[str, list[str]] = {
    "shop/product": ["slug", "name", "category", "summary", "description", "price", "image", "active"],
    "shop/shippingmethod": ["code", "name", "price", "days", "position", "active"],
    "outbox/feedtoken": ["name", "feed"],
    "auth/user": ["username", "password1", "password2", "usable_password"],
    "auth/group": ["name", "permissions"],
}
RIGHT = {
    "slug": "mug",
    "code": "fast",
    "name": "Mug",
    "category": "Goods",
    "price": "100",
    "days": "2",
    "position": "1",
}


@tried(35)
@given(data=st.data())
def test_forms_of_what_is_edited(edge: Desk, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(sorted(FORMS)))
    wrong = data.draw(
        st.dictionaries(st.sampled_from([*FORMS[model], "_continue", "_popup", "x"]), anything, max_size=3)
    )
    fields = {**{name: RIGHT[name] for name in FORMS[model] if name in RIGHT}, **wrong}
    edge.send(f"/admin/{model}/add/", fields)
    edge.send(f"/admin/{model}/1/change/", fields)
