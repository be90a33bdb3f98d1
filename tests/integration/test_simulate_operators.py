"""Simulated operators at the real admin, with a real bank, and an admin that fails them on the way."""

import io
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from outbox.models import Decision
from outbox.sweep import sweep
from payments.models import Payment, Refund
from shop.groups import APPROVER, OPERATOR, ensure_all
from shop.models import Concern, Order
from shop.simulation.operators import WAITING
from tests.integration.orders import offer, place
from tests.local.waiting import wait_until
from tests.sandbox_process import SandboxProcess
from tests.web_process import WebProcess

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]
PASSWORD = "a long enough password"
BY_OPERATORS = {"actor__startswith": "operator:"}


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[SandboxProcess]:
    """Of one test alone, so that its books are of nobody else."""
    with SandboxProcess(tmp_path / "bank") as started:
        yield started


@pytest.fixture
def web(bank: SandboxProcess, settings: Any, tmp_path: Path) -> Iterator[WebProcess]:
    settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = bank.url
    with WebProcess(tmp_path / "web.log") as web:
        yield web.start(STRIPE_API_BASE=bank.url, SENDGRID_API_BASE=bank.url)


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator, one who also approves, and the one above both; they do not think long."""
    ensure_all()
    for name, groups in (("olga", [OPERATOR]), ("omar", [OPERATOR, APPROVER])):
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.groups.set(Group.objects.filter(name__in=groups))
    User.objects.create_superuser("boss", password=PASSWORD)
    monkeypatch.setattr("shop.simulation.operators.THINKING", (0.05, 0.3))
    monkeypatch.setattr("shop.simulation.operators.BETWEEN", (0.0, 0.02))


@pytest.fixture
def orders(web: WebProcess) -> None:
    """Paid ones, small and large, declined, waiting for the customer, and under review."""
    mug, tent, treasure = offer(stock=100), offer(price=30_000, stock=100), offer(price=300_000, stock=100)
    for number in range(6):
        place(mug, email=f"mug-{number}@example.org")
        place(tent, email=f"tent-{number}@example.org")
    for number, card in enumerate(["pm_card_visa_chargeDeclined", "pm_card_authenticationRequired"] * 2):
        place(mug, email=f"card-{number}@example.org", card=card)
    for number in range(3):
        place(treasure, email=f"treasure-{number}@example.org")
    sweep(seconds=60)


def simulate(site: str, *arguments: str, logins: str = "olga omar") -> tuple[int, Json]:
    """Exit status and the JSON answer of simulate_operators."""
    out = io.StringIO()
    code: Any = 0
    given = ["--login", *(f"{name}:{PASSWORD}" for name in logins.split())]
    try:
        call_command("simulate_operators", "--json", "--base-url", site, *given, *arguments, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, json.loads(out.getvalue())


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def somebody_decided(count: int = 1) -> bool:
    return Decision.objects.filter(**BY_OPERATORS).count() >= count


def work(until: threading.Event) -> None:
    while not until.is_set():
        sweep(seconds=2)


def test_what_they_did_is_what_the_books_and_the_bank_say(
    web: WebProcess, bank: SandboxProcess, people: None, orders: None
) -> None:
    done = threading.Event()
    worker = meanwhile(lambda: work(done))
    code, answer = simulate(web.url, "--seconds", "12", "--seed", "3")
    done.set()
    worker.join()
    assert (code, answer["failures"], answer["retries"]) == (0, [], 0)
    assert answer["done"] > 5
    # Each form that was carried out is one decision, and each refund that was asked for one row.
    assert Decision.objects.filter(**BY_OPERATORS).count() == answer["done"]
    asked = answer["operations"].get("payment refund", {}).get("done", 0)
    assert Refund.objects.filter(requested_by__startswith="operator:").count() == asked > 0

    sweep(seconds=60)
    code, answer = simulate(web.url, "--decide", logins="olga omar boss")
    assert (code, answer["failures"], answer["still waiting"]) == (0, [], 0)
    sweep(seconds=60)
    assert not Refund.objects.filter(status="awaiting_approval").exists()
    assert not Order.objects.filter(status="under_review").exists()
    assert not Concern.objects.filter(resolved_at=None).exists()
    ours = Counter(Refund.objects.filter(status="succeeded").values_list("payment__intent_id", "amount"))
    assert Counter((each["payment_intent"], each["amount"]) for each in bank.bank_objects("refund").values()) == ours
    charged = {each["payment_intent"] for each in bank.bank_objects("charge").values() if each["paid"]}
    assert charged == set(Payment.objects.filter(status="succeeded").values_list("intent_id", flat=True))
    call_command("check_money")


def test_a_web_server_that_is_killed_meanwhile(web: WebProcess, people: None, orders: None) -> None:
    def kill() -> None:
        wait_until(somebody_decided)
        web.kill()
        web.start()
        known = Decision.objects.filter(**BY_OPERATORS).count()
        wait_until(lambda: somebody_decided(known + 2))
        os.kill(os.getpid(), signal.SIGTERM)

    killer = meanwhile(kill)
    code, answer = simulate(web.url, "--seconds", "60")
    killer.join()
    assert (code, answer["failures"]) == (0, [])
    assert answer["retries"] > 0


def test_who_is_logged_out_in_the_middle_reports_it(web: WebProcess, people: None, orders: None) -> None:
    def sack() -> None:
        wait_until(somebody_decided)
        User.objects.filter(username="olga").update(is_active=False)

    sacked = meanwhile(sack)
    code, answer = simulate(web.url, "--operators", "1", "--seconds", "60", logins="olga")
    sacked.join()
    assert code == 1
    assert all("logged out in the middle" in each for each in answer["failures"])


def test_a_wrong_password_is_a_failure_and_is_not_shown(web: WebProcess, people: None) -> None:
    User.objects.update(password="!")
    code, answer = simulate(web.url, "--operators", "1", "--seconds", "5", logins="olga")
    assert code == 1
    assert "olga cannot log in" in answer["failures"][0]
    assert PASSWORD not in json.dumps(answer)


class _Broken(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def test_a_server_error_is_a_failure() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        code, answer = simulate(f"http://127.0.0.1:{server.server_port}", "--operators", "1", logins="olga")
        server.shutdown()
        thread.join()
    assert code == 1
    assert "HTTP 500" in answer["failures"][0]


def test_nobody_to_log_in_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPERATOR_LOGINS", raising=False)
    with pytest.raises(CommandError, match="Nobody can log in"):
        call_command("simulate_operators")
    monkeypatch.setenv("OPERATOR_LOGINS", "olga:secret a-password-alone")
    with pytest.raises(CommandError, match="NAME:PASSWORD") as refused:
        call_command("simulate_operators")
    assert "a-password-alone" not in str(refused.value)


def test_what_waits_is_found_by_filters_that_exist(admin_client: Client) -> None:
    """The admin shows the whole list for a filter that it does not know."""
    for folder, which in WAITING:
        assert admin_client.get(f"{folder}{which}").status_code == 200, which
