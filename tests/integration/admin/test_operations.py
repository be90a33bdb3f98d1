"""Every operation: by whom, once, and against everybody else."""

import html
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.html import strip_tags

from outbox import decisions, operating
from outbox.models import Decision
from payments.models import Payment, Refund
from shop.groups import ADMINISTRATOR, APPROVER, GRANTS, OPERATOR, VIEWER
from shop.models import Order, StockMovement
from tests.integration.admin.operators import Operator, address
from tests.integration.admin.scenarios import SCENARIOS, Scenario
from tests.threads import together
from tests.web_process import WebProcess

pytestmark = pytest.mark.django_db(transaction=True)

WHY = "the customer called"


def snapshot(row: Any) -> tuple[Any, ...]:
    """All that an operation may change, as it stands in the database."""
    fresh = type(row)._base_manager.filter(pk=row.pk).values().first()
    return fresh, Refund.objects.count(), StockMovement.objects.count()


def said(response: Any) -> str:
    return " ".join(html.unescape(strip_tags(response.content.decode())).split())


def test_every_operation_has_its_scenario() -> None:
    offered = {(subject.label, each.name) for subject in operating.subjects() for each in subject.operations}
    never = {("shop.screening", "check"), ("payments.refund", "check")}  # see below
    assert offered == {*SCENARIOS, *never}


@pytest.mark.parametrize(("label", "name"), SCENARIOS)
def test_role_by_action(label: str, name: str) -> None:
    scenario = SCENARIOS[label, name]
    row = scenario.prepare()
    before, decided = snapshot(row), Decision.objects.count()
    for group in [*GRANTS, ""]:
        if group not in scenario.allowed:
            somebody = Operator(group)
            assert somebody.look(row, name).status_code == 403
            assert somebody.forged(row, name, **scenario.values).status_code == 403
    assert (snapshot(row), Decision.objects.count()) == (before, decided)
    for group in sorted(scenario.allowed):
        _once(scenario, name, group)


def _once(scenario: Scenario, name: str, group: str) -> None:
    """Done by one who may, with a row that says so; the same form again, by the back button, does nothing more."""
    row = scenario.prepare()
    before, decided = snapshot(row), Decision.objects.count()
    olga = Operator(group)
    form = olga.form(row, name).filled({"reason": WHY, **scenario.values})
    assert snapshot(row) == before  # a GET changes nothing
    assert olga.send(row, name, form).status_code == 302
    after = snapshot(row)
    assert after != before
    assert Decision.objects.count() == decided + 1
    decision = Decision.objects.latest("id")
    assert (decision.kind, decision.actor, decision.reason) == (name, olga.actor, WHY)
    assert decision.before
    assert decision.after
    assert olga.send(row, name, form).status_code == 302
    assert (snapshot(row), Decision.objects.count()) == (after, decided + 1)


@pytest.mark.parametrize(("label", "name"), SCENARIOS)
def test_a_double_click_is_one_decision(label: str, name: str) -> None:
    scenario = SCENARIOS[label, name]
    row = scenario.prepare()
    decided = Decision.objects.count()
    olga = Operator(scenario.group)
    form = olga.form(row, name).filled({"reason": WHY, **scenario.values})
    answers = together(*(lambda each=each: each.send(row, name, form) for each in (olga, olga.twin())))
    assert [answer.status_code for answer in answers] == [302, 302]
    assert Decision.objects.count() == decided + 1


@pytest.mark.parametrize(("label", "name"), SCENARIOS)
def test_of_two_at_once_the_second_reads_who_was_first(label: str, name: str) -> None:
    scenario = SCENARIOS[label, name]
    row = scenario.prepare()
    decided = Decision.objects.count()
    people = [Operator(scenario.group), Operator(scenario.group)]
    forms = [each.form(row, name).filled({"reason": WHY, **scenario.values}) for each in people]
    answers = together(
        *(lambda who=who, form=form: who.send(row, name, form) for who, form in zip(people, forms, strict=True))
    )
    assert Decision.objects.count() == decided + 1
    winner = Decision.objects.latest("id").actor
    (loser,) = [index for index, each in enumerate(people) if each.actor != winner]
    answer = answers[loser]
    if answer.status_code == 302:  # the row is gone with the decision
        answer = people[loser].client.get(answer["Location"])
    else:
        assert answer.status_code == 409
    assert winner in said(answer)
    assert WHY in said(answer)


def test_who_comes_when_the_row_is_gone_reads_who_was_first() -> None:
    scenario = SCENARIOS["outbox.parkedevent", "skip"]
    row = scenario.prepare()
    olga, omar = Operator(scenario.group), Operator(scenario.group)
    first, second = (each.form(row, "skip").filled({"reason": WHY}) for each in (olga, omar))
    olga.send(row, "skip", first)
    for ask in (partial(omar.send, row, "skip", second), partial(omar.look, row, "skip")):
        answer: Any = ask()
        assert answer.status_code == 302
        page = said(omar.client.get(answer["Location"]))
        assert olga.actor in page
        assert WHY in page


def test_a_worker_in_the_middle_asks_the_person_again() -> None:
    row = SCENARIOS["payments.payment", "retry"].prepare()
    olga = Operator(OPERATOR)
    form = olga.form(row, "retry").filled({"reason": WHY})
    claimed = {"status": "processing", "token": uuid.uuid4(), "claimed_by": "w", "due_at": timezone.now()}
    Payment.objects.filter(pk=row.pk).update(**claimed)
    answer = olga.send(row, "retry", form)
    assert answer.status_code == 409
    assert "A worker has moved it on." in said(answer)
    assert "It is now: processing" in said(answer)
    assert not Decision.objects.exists()


def test_two_wanting_the_same_refund_make_one() -> None:
    """Not the same form, and not at the same moment: the second has looked before the first was done."""
    payment = SCENARIOS["payments.payment", "refund"].prepare()
    olga, omar = Operator(OPERATOR), Operator(OPERATOR)
    values = {"reason": "scratched", "amount": "5.00"}
    forms = [each.form(payment, "refund").filled(values) for each in (olga, omar)]
    assert olga.send(payment, "refund", forms[0]).status_code == 302
    answer = omar.send(payment, "refund", forms[1])
    assert answer.status_code == 409
    assert f"{olga.actor} at" in said(answer)
    assert Refund.objects.count() == 1
    # Having read that, another one may still be meant.
    again = omar.form(payment, "refund").filled(values)
    assert omar.send(payment, "refund", again).status_code == 302
    assert Refund.objects.count() == 2


def test_a_cancellation_overtakes_a_refund_of_the_same_order() -> None:
    payment: Any = SCENARIOS["payments.payment", "refund"].prepare()
    order = Order.objects.get(pk=payment.order_id)
    olga, omar = Operator(OPERATOR), Operator(OPERATOR)
    form = olga.form(payment, "refund").filled({"reason": WHY, "amount": "5.00"})
    omar.send(order, "cancel", omar.form(order, "cancel").filled({"reason": "wrong address"}))
    answer = olga.send(payment, "refund", form)
    assert answer.status_code == 409
    assert "wrong address" in said(answer)
    assert not Refund.objects.exists()


def test_two_rows_of_one_order_are_decided_one_after_the_other() -> None:
    """At the same moment, from pages read before either was sent: the row locks alone would let both through."""
    payment: Any = SCENARIOS["payments.payment", "refund"].prepare()
    order = Order.objects.get(pk=payment.order_id)
    olga, omar = Operator(OPERATOR), Operator(OPERATOR)
    refund = olga.form(payment, "refund").filled({"reason": WHY, "amount": "5.00"})
    cancel = omar.form(order, "cancel").filled({"reason": WHY})
    answers = together(
        lambda: olga.send(payment, "refund", refund).status_code, lambda: omar.send(order, "cancel", cancel).status_code
    )
    assert sorted(answers) == [302, 409]
    assert Decision.objects.count() == 1


def test_nobody_approves_what_they_asked_for(settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = 100
    payment = SCENARIOS["payments.payment", "refund"].prepare()
    boss = Operator(OPERATOR, APPROVER)
    boss.send(payment, "refund", boss.form(payment, "refund").filled({"reason": WHY, "amount": "5.00"}))
    refund = Refund.objects.get()
    assert refund.status == Refund.Status.AWAITING_APPROVAL
    assert "another person decides" in said(boss.look(refund, "approve"))
    assert boss.forged(refund, "approve").status_code == 409
    assert Refund.objects.get().status == Refund.Status.AWAITING_APPROVAL
    other = Operator(APPROVER)
    assert other.send(refund, "approve", other.form(refund, "approve").filled({"reason": WHY})).status_code == 302
    refund.refresh_from_db()
    assert (refund.status, refund.approved_by) == ("unprocessed", other.actor)


@pytest.mark.parametrize("amount", ["0", "-5", "24.91", "1e2", "5.001", "", "NaN", "Infinity", "' OR 1=1"])
def test_an_amount_that_cannot_be_refunded_says_so_and_writes_nothing(amount: str) -> None:
    payment = SCENARIOS["payments.payment", "refund"].prepare()
    olga = Operator(OPERATOR)
    form = olga.form(payment, "refund").filled({"reason": WHY, "amount": amount})
    answer = olga.send(payment, "refund", form)
    assert answer.status_code == 422
    assert 'class="errorlist"' in answer.content.decode()
    assert not Refund.objects.exists()
    assert not Decision.objects.exists()


def test_without_a_reason_nothing_is_done() -> None:
    row = SCENARIOS["shop.order", "cancel"].prepare()
    olga = Operator(OPERATOR)
    answer = olga.send(row, "cancel", olga.form(row, "cancel").filled({"reason": "  "}))
    assert answer.status_code == 422
    assert not Decision.objects.exists()


def test_the_confirmation_names_amount_and_customer() -> None:
    payment = SCENARIOS["payments.payment", "refund"].prepare()
    page = said(Operator(OPERATOR).look(payment, "refund"))
    assert "€24.90" in page
    assert "Ada Lovelace, ada@example.org" in page
    assert "has to approve more than €100.00" in page


def test_the_payments_page_offers_what_the_whole_order_allows() -> None:
    payment: Any = SCENARIOS["payments.payment", "retry"].prepare()
    page = said(Operator(OPERATOR).client.get(f"/admin/payments/payment/{payment.pk}/change/"))
    for text in ("Try again now", "Cancel the order", "Timeline of the order", "We have your order"):
        assert text in page
    assert "Nothing was charged: the payment is unprocessed." in page
    assert "Cancel the order" not in said(Operator(VIEWER).client.get(f"/admin/payments/payment/{payment.pk}/change/"))


def test_decisions_are_only_ever_added() -> None:
    row = SCENARIOS["shop.order", "cancel"].prepare()
    olga = Operator(OPERATOR)
    olga.send(row, "cancel", olga.form(row, "cancel").filled({"reason": WHY}))
    for change in ("UPDATE outbox_decision SET actor = 'x'", "DELETE FROM outbox_decision"):
        with pytest.raises(IntegrityError, match="only ever added"), connection.cursor() as cursor:
            cursor.execute(change)
    with pytest.raises(transaction.TransactionManagementError):
        decisions.record(kind="x", about=row, actor="x", reason="x")


@pytest.mark.parametrize(("point", "kept"), [("A1", 0), ("A2", 1)])
def test_a_web_server_that_dies_around_a_decision(tmp_path: Path, point: str, kept: int) -> None:
    payment = SCENARIOS["payments.payment", "refund"].prepare()
    olga = Operator(OPERATOR)
    form = olga.form(payment, "refund").filled({"reason": WHY, "amount": "5.00"})
    cookies = {name: morsel.value for name, morsel in olga.client.cookies.items()}
    with WebProcess(tmp_path / "web.log") as web:
        target = web.url + address(payment, "refund")
        web.start(CRASH_POINT=point)
        with pytest.raises(requests.RequestException):
            requests.post(target, form, cookies=cookies, headers={"Referer": web.url}, timeout=20)
        assert (Refund.objects.count(), Decision.objects.count()) == (kept, kept)
        web.kill()
        web.start()
        answer = requests.post(
            target, form, cookies=cookies, headers={"Referer": web.url}, timeout=20, allow_redirects=False
        )
    assert answer.status_code == 302
    assert (Refund.objects.count(), Decision.objects.count()) == (1, 1)


def test_a_question_that_is_on_its_way_needs_no_second_asking() -> None:
    """Screenings have no nudges: `check` is never offered."""
    row = SCENARIOS["shop.screening", "retry"].prepare()
    assert "there is nothing to ask" in said(Operator(ADMINISTRATOR).look(row, "check"))


def test_nothing_else_is_there() -> None:
    row: Any = SCENARIOS["shop.order", "cancel"].prepare()
    olga = Operator(ADMINISTRATOR)
    for path in (
        f"shop.order/{row.pk}/explode",
        "shop.order/99999/cancel",
        "auth.user/1/delete",
        "shop.order/x/cancel",
    ):
        assert olga.client.get(f"/admin/operations/{path}/").status_code in (302, 404)
    anonymous = Operator(ADMINISTRATOR)
    anonymous.client.logout()
    assert "/admin/login/" in anonymous.look(row, "cancel")["Location"]
