"""The scheduler alone: django-q2's cluster, its one sweep, and nothing else running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django_q.models import Schedule

from notifications.models import Message
from outbox.models import Heartbeat
from shop import schedules
from shop.models import Order
from tests.database_url import database_url
from tests.integration.orders import offer, place
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
# Seconds: the scheduler first looks about 28 s after its start, then every 30 s.
PATIENCE = 110


def test_the_schedules_are_created_once_and_corrected() -> None:
    schedules.ensure_all()
    Schedule.objects.filter(name="sweep").update(cron="0 0 1 1 *")
    Schedule.objects.create(name="an operator's own", func="math.floor", schedule_type=Schedule.ONCE)
    schedules.ensure_all()
    assert Schedule.objects.get(name="sweep").cron == "* * * * *"
    assert Schedule.objects.count() == len(schedules.TASKS) + 1


def test_the_schedules_are_seen_in_the_admin(admin_client: Client) -> None:
    schedules.ensure_all()
    page = admin_client.get("/admin/django_q/schedule/")
    shown = page.content.decode()
    assert all(task.name in shown and task.function in shown for task in schedules.TASKS)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_sweep_alone_carries_an_order_through(sandbox: SandboxProcess, tmp_path: Path) -> None:
    sandbox.clear_faults()
    order = place(offer()).order
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "STRIPE_API_BASE": sandbox.url,
        "SENDGRID_API_BASE": sandbox.url,
    }
    with (tmp_path / "qcluster.log").open("wb") as log:
        cluster: subprocess.Popen[Any] = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not Message.objects.filter(order_id=order.pk, status="sent").exists():
            assert cluster.poll() is None, (tmp_path / "qcluster.log").read_text()
            time.sleep(0.5)
        order.refresh_from_db()
        assert order.status == Order.Status.ACCEPTED, (tmp_path / "qcluster.log").read_text()
        assert Message.objects.get(order_id=order.pk).status == Message.Status.SENT
        assert Heartbeat.objects.filter(loop="sweep").exists()
    finally:
        cluster.send_signal(signal.SIGTERM)  # its main process only: a signal to the whole group can hang it
        try:
            cluster.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait()
