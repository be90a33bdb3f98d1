"""The slow check of an order: asked of a real service that fails in every way, while nothing is charged."""

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import subscriptions
from outbox.audit import Difference, checks
from outbox.dispatcher import dispatch_once
from outbox.models import Decision, Event
from outbox.relay import relay_once
from outbox.sweep import sweep
from outbox.timeline import timeline
from payments.models import Payment, PaymentAttempt
from shop.decisions import cancel_order, review_order
from shop.models import Concern, Order, OrderLine, Screening
from shop.process_managers import NotPossible
from shop.screening_worker import make_engine
from shop.selectors import awaits_screening
from tests.database_url import database_url
from tests.integration.orders import offer, place
from tests.sandbox_process import SandboxProcess
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

FAILS = "99999"
CALL = "screening.check"
OPERATOR = "operator:eve"


@pytest.fixture(autouse=True)
def world(sandbox: SandboxProcess, settings: Any) -> Iterator[SandboxProcess]:
    settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = sandbox.url
    settings.SCREENING_URL = f"{sandbox.url}/screening"
    settings.SCREENING_ABOVE = 5000
    settings.SCREENING_TIMEOUT = 1.0
    sandbox.clear_faults()
    yield sandbox
    sandbox.clear_faults()


def waiting(**details: Any) -> Screening:
    """The due question about a placed order that the process has put under review."""
    order = place(offer(price=details.pop("price", 10_000)), **details).order
    while relay_once():
        dispatch_once("order-process")
    return Screening.objects.select_related("order").get(order=order)


def ask() -> None:
    engine = make_engine()
    try:
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()


def time_passes(**of_asking: int) -> None:
    """Every backoff and every lease is over, and the questions are so much older."""
    Screening.objects.filter(due_at__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))
    Screening.objects.update(created_at=F("created_at") - dt.timedelta(**of_asking))


def reviewed(screening: Screening, *, accepted: bool = True) -> Order:
    return review_order(order_id=screening.order_id, accepted=accepted, actor=OPERATOR, reason="looked at it")


def standing(screening: Screening) -> tuple[str, str]:
    """The status of the screening and of its order."""
    screening.refresh_from_db()
    return screening.status, screening.order.status


def decisions() -> list[tuple[str, str]]:
    return list(Decision.objects.order_by("pk").values_list("kind", "actor"))


def answers(world: SandboxProcess, screening: Screening) -> list[dict[str, Any]]:
    """The checks that the service made under our reference, from its own ledger file."""
    reference = str(screening.public_id)
    return [line for line in world.ledger(book="screening") if line.get("check", {}).get("reference") == reference]


def nothing_charged() -> bool:
    unreleased = Payment.objects.filter(status="unprocessed", due_at__isnull=True, attempts=0).count()
    return unreleased == Order.objects.count() and not PaymentAttempt.objects.exists()


def is_settled() -> bool:
    """By the books' own checks."""
    found = [finding for check in checks(invariants=["Q8"]) for finding in check.run()]
    return not any(isinstance(finding, Difference) for finding in found)


# --- answered ---------------------------------------------------------------------------------------


def test_an_order_that_passes_is_charged_only_then(world: SandboxProcess) -> None:
    screening = waiting()
    assert standing(screening) == ("pending", "under_review")
    assert Event.objects.get(type="OrderUnderReview").payload["reasons"] == ["screening"]
    assert screening.decides
    assert nothing_charged()
    assert not is_settled()
    sweep(seconds=30)
    assert standing(screening) == ("passed", "accepted")
    assert decisions() == [("accept", "system:screening")]
    (line,) = answers(world, screening)
    assert line["question"] == {
        "reference": str(screening.public_id),
        "country": "DE",
        "postal_code": "20457",
        "amount": screening.order.total,
        "currency": "EUR",
        "email_sha256": line["question"]["email_sha256"],
    }
    assert (screening.outcome, screening.check_id) == ("answered", line["check"]["id"])
    charged = PaymentAttempt.objects.order_by("pk")[0].started_at
    assert screening.settled_at is not None
    assert screening.settled_at <= charged
    assert len({headers["correlation_id"] for headers in Event.objects.values_list("headers", flat=True)}) == 1
    assert is_settled()


def test_an_order_that_fails_is_rejected_and_its_goods_are_freed(world: SandboxProcess) -> None:
    screening = waiting(postal_code=FAILS)
    sweep(seconds=30)
    assert standing(screening) == ("failed", "cancelled")
    assert decisions() == [("reject", "system:screening")]
    assert screening.order.process["cancelled_by"] == "system"
    assert OrderLine.objects.get().hold == "released"
    assert not PaymentAttempt.objects.exists()
    told = [(entry.source, entry.what) for entry in timeline(screening.order_id)]
    assert told.index(("screening", "a service outside is to be asked")) < told.index(("screening", "failed"))
    assert is_settled()


def test_smaller_orders_are_not_screened(world: SandboxProcess) -> None:
    order = place(offer(price=4510)).order  # with shipping, not above 5000
    sweep(seconds=30)
    order.refresh_from_db()
    assert order.status == "accepted"
    assert not Screening.objects.exists()


def test_what_is_rejected_anyway_is_not_asked(world: SandboxProcess) -> None:
    place(offer(price=10_000), country="US")
    sweep(seconds=30)
    assert Order.objects.get().status == "cancelled"
    assert not Screening.objects.exists()


@pytest.mark.parametrize(("postal_code", "result"), [("20457", "passed"), (FAILS, "failed")])
def test_beside_another_reason_it_only_informs(world: SandboxProcess, postal_code: str, result: str) -> None:
    screening = waiting(price=300_000, postal_code=postal_code)
    assert Event.objects.get(type="OrderUnderReview").payload["reasons"] == ["amount_unusual", "screening"]
    assert not awaits_screening(screening.order)
    sweep(seconds=30)
    assert standing(screening) == (result, "under_review")
    assert decisions() == []
    assert nothing_charged()
    assert is_settled()


# --- not answered -----------------------------------------------------------------------------------


def test_a_service_that_is_down_is_asked_again(world: SandboxProcess) -> None:
    rule = world.add_fault(CALL, "down")
    screening = waiting()
    for attempts in (1, 2):
        ask()
        assert standing(screening) == ("pending", "under_review")
        assert (screening.outcome, screening.attempts) == ("not_sent", attempts)
        time_passes()
    world.remove_fault(rule)
    assert nothing_charged()
    sweep(seconds=30)
    assert standing(screening) == ("passed", "accepted")
    assert len(answers(world, screening)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        *("drop_before", "drop_after", "reset", "delay_answer", "slow_drip", "cut_body"),
        *("malformed_body", "error_500_before", "error_500_after"),
    ],
)
def test_a_lost_answer_is_fetched_again(world: SandboxProcess, fault: str) -> None:
    world.add_fault(CALL, fault, times=1, seconds=3)
    screening = waiting()
    ask()
    assert standing(screening) == ("pending", "under_review")
    assert screening.outcome == "unknown"
    assert nothing_charged()
    time_passes()
    ask()
    assert standing(screening) == ("passed", "awaiting_payment")
    assert len(answers(world, screening)) == 1
    assert decisions() == [("accept", "system:screening")]


@pytest.mark.parametrize("fault", ["rate_limit", "conflict_409"])
def test_who_is_turned_away_comes_again(world: SandboxProcess, fault: str) -> None:
    world.add_fault(CALL, fault, times=1)
    screening = waiting()
    ask()
    assert standing(screening) == ("pending", "under_review")
    assert screening.outcome == "not_sent"
    time_passes()
    ask()
    assert standing(screening) == ("passed", "awaiting_payment")


def test_a_wrong_key_can_be_put_right(world: SandboxProcess, settings: Any) -> None:
    key, settings.SCREENING_API_KEY = settings.SCREENING_API_KEY, "wrong"
    screening = waiting()
    ask()
    assert standing(screening) == ("pending", "under_review")
    assert "401" in screening.detail
    settings.SCREENING_API_KEY = key
    time_passes()
    ask()
    assert standing(screening) == ("passed", "awaiting_payment")


def test_it_is_given_up_and_left_to_a_person(world: SandboxProcess, settings: Any) -> None:
    rule = world.add_fault(CALL, "down")
    screening = waiting()
    time_passes(minutes=settings.SCREENING_PATIENCE_MINUTES - 2)
    ask()
    assert standing(screening) == ("pending", "under_review")
    assert awaits_screening(screening.order)
    time_passes(minutes=3)
    ask()
    assert standing(screening) == ("unanswered", "under_review")
    assert not awaits_screening(screening.order)
    concern = Concern.objects.get(order=screening.order)
    assert (concern.kind, concern.resolved_at) == ("screening_unanswered", None)
    assert decisions() == []
    assert nothing_charged()
    world.remove_fault(rule)
    sweep(seconds=30)
    assert standing(screening) == ("unanswered", "under_review")
    assert is_settled()
    reviewed(screening)
    sweep(seconds=30)
    assert standing(screening) == ("unanswered", "accepted")


def test_a_refused_question_is_left_to_a_person_at_once(world: SandboxProcess) -> None:
    world.add_fault(CALL, "drop_after", times=1)
    screening = waiting()
    ask()
    Order.objects.update(postal_code="20459")  # another question under the same reference
    time_passes()
    ask()
    assert standing(screening) == ("unanswered", "under_review")
    assert screening.outcome == "refused"
    assert "another question" in Concern.objects.get().detail


# --- workers that die, workers that are late --------------------------------------------------------


def run_worker(world: SandboxProcess, *, crash_point: str) -> int:
    """`manage.py run_workers screenings` on the tests' database, until it dies; its exit code."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "SCREENING_URL": f"{world.url}/screening",
        "CRASH_POINT": crash_point,
    }
    command = [sys.executable, "manage.py", "run_workers", "screenings"]
    folder = Path(__file__).parents[2]
    return subprocess.run(command, cwd=folder, env=environment, timeout=60, check=False).returncode


def test_a_worker_that_dies_while_it_asks(world: SandboxProcess) -> None:
    screening = waiting()
    assert run_worker(world, crash_point="S1") == -signal.SIGKILL
    assert standing(screening) == ("asking", "under_review")
    ask()  # its lease still runs
    assert standing(screening) == ("asking", "under_review")
    assert nothing_charged()
    time_passes()
    sweep(seconds=30)
    assert standing(screening) == ("passed", "accepted")
    assert screening.attempts == 2
    assert len(answers(world, screening)) == 1


def test_a_worker_that_dies_once_it_has_recorded(world: SandboxProcess) -> None:
    screening = waiting()
    assert run_worker(world, crash_point="S2") == -signal.SIGKILL
    assert standing(screening) == ("passed", "awaiting_payment")
    sweep(seconds=30)
    assert standing(screening) == ("passed", "accepted")
    assert (screening.attempts, decisions()) == (1, [("accept", "system:screening")])


def test_a_worker_whose_lease_ran_out_changes_nothing(world: SandboxProcess) -> None:
    screening = waiting()
    slow = make_engine()
    world.add_fault(CALL, "delay_answer", times=1, seconds=0.5)
    slow.run_once()
    time_passes()
    ask()
    assert standing(screening) == ("passed", "awaiting_payment")
    slow.close()
    assert (standing(screening), screening.attempts) == (("passed", "awaiting_payment"), 2)
    assert decisions() == [("accept", "system:screening")]


def test_several_workers_ask_each_question_once(world: SandboxProcess) -> None:
    screenings = [waiting() for _ in range(6)]
    together(ask, ask, ask)
    assert [len(answers(world, each)) for each in screenings] == [1] * 6
    assert decisions() == [("accept", "system:screening")] * 6
    assert set(Screening.objects.values_list("attempts", flat=True)) == {1}


# --- people are faster ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "postal_code", "result", "ending"),
    [
        (True, "20457", "passed", "accepted"),
        (True, FAILS, "failed", "accepted"),
        (False, "20457", "passed", "cancelled"),
        (False, FAILS, "failed", "cancelled"),
    ],
)
def test_a_person_decides_while_it_is_asked(
    world: SandboxProcess, accepted: bool, postal_code: str, result: str, ending: str
) -> None:
    screening = waiting(postal_code=postal_code)
    engine = make_engine()
    world.add_fault(CALL, "delay_answer", times=1, seconds=0.5)
    engine.run_once()
    decided = reviewed(screening, accepted=accepted).status
    engine.close()
    assert standing(screening) == (result, decided)
    sweep(seconds=30)
    assert standing(screening) == (result, ending)
    assert decisions() == [("accept" if accepted else "reject", OPERATOR)]
    assert is_settled()


def test_after_the_answer_nothing_is_left_to_decide(world: SandboxProcess) -> None:
    screening = waiting()
    ask()
    with pytest.raises(NotPossible):
        reviewed(screening, accepted=False)
    assert standing(screening) == ("passed", "awaiting_payment")


def test_person_and_answer_at_the_same_moment_are_one_decision(world: SandboxProcess) -> None:
    for _ in range(4):
        screening = waiting(postal_code=FAILS)
        engine = make_engine()
        engine.run_once()

        def person(screening: Screening = screening) -> str:
            try:
                reviewed(screening)
            except NotPossible:
                return "too late"
            return "accepted"

        said, _ = together(person, engine.close)
        expected = (
            ("cancelling", [("reject", "system:screening")])
            if said == "too late"
            else ("awaiting_payment", [("accept", OPERATOR)])
        )
        status, order_status = standing(screening)
        assert status == "failed"
        assert (order_status, decisions()[-1:]) == expected


def test_the_shopper_cancels_while_it_is_asked(world: SandboxProcess) -> None:
    rule = world.add_fault(CALL, "down")
    screening = waiting()
    ask()
    cancel_order(order_id=screening.order_id, actor="shopper", reason="changed my mind")
    time_passes(minutes=90)
    ask()
    world.remove_fault(rule)
    sweep(seconds=30)
    assert standing(screening) == ("unanswered", "cancelled")
    assert not Concern.objects.exists()


# --- the rows ---------------------------------------------------------------------------------------


def test_a_replay_asks_nothing_again(world: SandboxProcess) -> None:
    screening = waiting()
    subscriptions.replay(name="order-process", position=1, actor=OPERATOR, reason="again")
    while dispatch_once("order-process"):
        pass
    assert Screening.objects.get() == screening


@pytest.mark.parametrize(
    "change", [{"status": "passed"}, {"status": "asking"}, {"due_at": None}, {"settled_at": Now()}, {"claimed_by": "x"}]
)
def test_the_database_refuses_states_that_make_no_sense(change: dict[str, Any]) -> None:
    waiting()
    with pytest.raises(IntegrityError), transaction.atomic():
        Screening.objects.update(**change)


def test_our_own_error_sets_the_question_aside(world: SandboxProcess) -> None:
    """Its answer cannot be stored: the order waits for a person, and no worker stumbles over it again."""
    screening = waiting()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE outbox_decision ADD CONSTRAINT bug CHECK (actor <> 'system:screening')")
    try:
        ask()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox_decision DROP CONSTRAINT bug")
    assert standing(screening) == ("pending", "under_review")
    assert "our own error" in screening.blocked_reason
    assert screening.due_at is None
    assert nothing_charged()
