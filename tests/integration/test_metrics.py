"""What Prometheus reads: the pipeline of the store, the calls of a worker's process, and the books' verdict."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from outbox.models import AuditRun, Heartbeat
from payments.models import Payment
from shop.local.ports import first_free
from shop.models import Order
from shop.schedules import check_books
from tests.database_url import database_url
from tests.integration.orders import offer, place
from tests.local.waiting import wait_until
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

BEARER = {"Authorization": "Bearer a-secret"}


def scraped(settings: Any) -> dict[str, float]:
    settings.METRICS_TOKEN = "a-secret"
    answer = Client().get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    return parsed(answer.content.decode())


def parsed(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_depths_and_ages_of_the_pipeline(settings: Any) -> None:
    place(offer())
    Heartbeat.objects.create(loop="payments", process="host:1", error="OSError: away")
    found = scraped(settings)
    assert found['store_pipeline_depth{place="outbox",state="staged",waits_for="machine"}'] == 2
    assert found['store_pipeline_depth{place="payments",state="unprocessed, resting",waits_for="others"}'] == 1
    assert found['store_pipeline_oldest_seconds{place="outbox",state="staged",waits_for="machine"}'] < 60
    assert found['store_heartbeat_age_seconds{loop="payments",process="host:1"}'] < 60
    assert found["store_warnings"] == 2  # that one, and no scheduler
    assert "store_books_differences" not in found


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "a-secret-not"}])
def test_nobody_else_reads_them(settings: Any, headers: dict[str, str]) -> None:
    settings.METRICS_TOKEN = "a-secret"
    assert Client().get("/metrics", headers=headers).status_code == 404
    settings.METRICS_TOKEN = ""
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_the_books_are_checked_and_the_verdict_is_told(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = place(offer()).order
    with SandboxProcess(tmp_path / "bank") as bank:  # whose books hold nobody else's orders
        settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = bank.url
        _books_are_checked(order, settings, caplog)


def _books_are_checked(order: Order, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert check_books() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_order SET subtotal = subtotal - 1, total = total - 1 WHERE id = %s", [order.pk])
    assert check_books() > 0
    assert "action=books_differ" in caplog.text
    found = scraped(settings)
    assert found["store_books_differences"] == AuditRun.objects.latest("pk").differences > 0
    assert found["store_books_unreadable"] == 0
    assert f"S1 an order's sum {order.pk}" in AuditRun.objects.latest("pk").detail


def test_a_workers_process_counts_its_calls(sandbox: SandboxProcess) -> None:
    sandbox.clear_faults()
    payment = Payment.objects.get(order_id=place(offer()).order.pk)
    Payment.objects.filter(pk=payment.pk).update(due_at="2026-01-01T00:00:00Z")
    port = first_free(start=23_000)
    environment = worker_environment(sandbox)
    command = [sys.executable, "manage.py", "run_workers", "payments", "--metrics-port", str(port)]
    worker = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: Payment.objects.get(pk=payment.pk).status == Payment.Status.SUCCEEDED)
        wait_until(lambda: read(port).get('store_calls_total{outcome="answered",worker="payments"}', 0) == 2)
        found = read(port)
        assert found['store_call_seconds_count{worker="payments"}'] == 2
        assert found['store_loop_items_total{loop="payments"}'] > 0
    finally:
        worker.terminate()
        worker.wait(timeout=30)


def worker_environment(sandbox: SandboxProcess) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database_url(), "STRIPE_API_BASE": sandbox.url, "DOORBELL_DIR": "off"}


def read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return parsed(answer.read().decode())
