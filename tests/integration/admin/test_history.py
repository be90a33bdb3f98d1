"""No page of the admin reads more of the store's history than it shows, however long that is.

Measured in rows, not in milliseconds: on a short history that the benchmarks' loader makes, with pages that are short
in proportion, PostgreSQL says how many rows each query has read. Sequential scans are switched off, as on a table so
small they would be right; who still needs one has no index.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from pytest_django import DjangoDbBlocker

from benchmarks import history
from benchmarks.admin_pages import Pages, lists
from outbox.audit import audit, checks
from shop.models import Order

pytestmark = pytest.mark.django_db

ORDERS = 2000
# Rows of a page, and rows that a list counts or that a filter of the newest looks at.
PAGE, FEW = 10, 20
# Rows that one step of a query may read: a page of one product's movements, passing those of all the others on the way;
# far below the thousands of each ledger.
ENOUGH = 400


@pytest.fixture(scope="module", autouse=True)
def swept(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """What earlier tests have deleted still stands in tables and indexes, and would be counted as read."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("VACUUM")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    history.load(orders=ORDERS)
    monkeypatch.setattr("outbox.ledger_admin.COUNTED", FEW)
    monkeypatch.setattr("outbox.ledger_filters.NEWEST", FEW)
    monkeypatch.setattr("shop.pipeline.CAP", FEW)
    for model in lists():
        monkeypatch.setattr(admin.site._registry[model], "list_per_page", PAGE)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
    return Pages(host="testserver")


def test_no_list_filter_or_search_reads_the_history(pages: Pages) -> None:
    found = []
    for model in lists():
        for page in pages.of_list(model):
            with asked() as queries:
                list(pages.changelist(model, page.url).result_list)
            found += [f"{page.name}: {each}" for each in too_much(queries)]
    assert not found, "\n".join(found)


def test_no_other_page_reads_the_history(pages: Pages) -> None:
    found = []
    for page in pages.others():
        with asked() as queries:
            page.open()
        assert queries
        found += [f"{page.name}: {each}" for each in too_much(queries)]
    assert not found, "\n".join(found)


def test_the_history_is_true_to_the_books() -> None:
    history.load(orders=ORDERS)
    results = audit([each for each in checks() if not set(each.sources) - {"log"}])
    assert len(results) > 10
    assert [each for result in results for each in result.differences] == []


def test_no_history_is_mixed_with_orders() -> None:
    history.load(orders=1)
    with pytest.raises(history.NotEmpty):
        history.load(orders=1)
    assert Order.objects.count() == 1


@contextmanager
def asked() -> Iterator[list[tuple[str, Any]]]:
    """The SELECTs that are made inside."""
    queries: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith("SELECT"):
            queries.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield queries


def too_much(queries: list[tuple[str, Any]]) -> Iterator[str]:
    """What read more rows than enough."""
    for sql, params in queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            ((plans,),) = cursor.fetchall()
        plans = json.loads(plans) if isinstance(plans, str) else plans
        for node in nodes(plans[0]["Plan"]):
            if (read := rows_read(node)) > ENOUGH:
                yield f"{node['Node Type']} on {node.get('Relation Name')} read {read:.0f} rows for {sql}"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def rows_read(node: dict[str, Any]) -> float:
    """By a scan, those included that it threw away."""
    if "Scan" not in node["Node Type"]:
        return 0
    kept = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(kept * node["Actual Loops"])
