"""Whatever a partner's machine sends to the feeds and the warehouse's addresses, with a token or without."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox import feed_tokens
from tests.integration.orders import offer
from tests.integration.picking import accepted
from tests.properties.edges import Edge, bodies, content_types, encoded, jsons, numbers, texts
from tests.properties.profiles import tried


class Warehouse(Edge):
    """With a token, and a picklist to ask for."""

    def __init__(self) -> None:
        (self.order,) = accepted(offer())
        self.token = feed_tokens.create(feed="warehouse", name="fuzz")
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture
def edge(store: None) -> Warehouse:
    return Warehouse()


queries = st.dictionaries(st.sampled_from(["after", "limit", "x"]), texts | st.binary(max_size=6), max_size=3)
reports = st.fixed_dictionaries(
    {},
    optional={
        "reference": texts | jsons,
        "order_id": st.just("the order") | numbers | jsons,
        "kind": st.sampled_from(["shipped", "short", "withdrawn"]) | jsons,
        "carrier": texts | jsons,
        "tracking": texts | jsons,
        "sequence": numbers | jsons,
    },
)
# Most are nearly right, or nothing behind the first check would ever be reached.
nearly = st.builds(
    lambda right, wrong: {**right, **wrong},
    st.fixed_dictionaries(
        {
            "reference": st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
            "order_id": st.just("the order"),
            "kind": st.sampled_from(["shipped", "short", "withdrawn"]),
        }
    ),
    reports.flatmap(lambda fields: st.sampled_from([{}, *({name: value} for name, value in fields.items())])),
)


@tried(50)
@given(name=texts | st.just("warehouse"), query=queries, body=bodies, kind=content_types)
def test_feeds(edge: Warehouse, name: str, query: dict[str, str], body: bytes, kind: str) -> None:
    edge.get("/feeds/warehouse", query, headers=edge.headers)
    edge.get(f"/feeds/{encoded(name)}", query, headers=edge.headers, content_type=kind)
    edge.post(f"/feeds/{encoded(name)}/ack", body, content_type=kind, headers=edge.headers)
    edge.post("/feeds/warehouse/ack", body, content_type="application/json", headers=edge.headers)


@tried(40)
@given(through=numbers | jsons, more=st.dictionaries(texts, jsons, max_size=1))
def test_acknowledgements(edge: Warehouse, through: Any, more: dict[str, Any]) -> None:
    body = json.dumps({"through": through, **more}).encode()
    edge.post("/feeds/warehouse/ack", body, content_type="application/json", headers=edge.headers)


@tried(40)
@given(token=texts, prefix=st.sampled_from(["Bearer ", "bearer  ", "Basic ", ""]))
def test_tokens(edge: Warehouse, token: str, prefix: str) -> None:
    for each in (token, f"{edge.token.partition('.')[0]}.{token}", f"{token}.{edge.token.partition('.')[2]}"):
        answer = edge.get("/feeds/warehouse", headers={"Authorization": f"{prefix}{each}"})
        assert answer.status_code == 401


@tried(40)
@given(order=texts, query=queries)
def test_picklists(edge: Warehouse, order: str, query: dict[str, str]) -> None:
    edge.get(f"/warehouse/picklists/{encoded(order)}", query, headers=edge.headers)
    assert edge.get(f"/warehouse/picklists/{edge.order}", headers=edge.headers).status_code in (200, 410)


@tried(100)
@given(report=nearly | reports | jsons)
def test_shipments(edge: Warehouse, report: Any) -> None:
    if isinstance(report, dict) and report.get("order_id") == "the order":
        report = {**report, "order_id": edge.order}
    body = json.dumps(report).encode()
    edge.post("/warehouse/shipments", body, content_type="application/json", headers=edge.headers)


@tried(40)
@given(body=bodies, kind=content_types)
def test_shipments_that_are_no_json(edge: Warehouse, body: bytes, kind: str) -> None:
    answer = edge.post("/warehouse/shipments", body, content_type=kind, headers=edge.headers)
    assert answer.status_code in (413, 415, 422)
