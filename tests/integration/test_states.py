"""The status graphs: model, trigger, documentation and deciding code say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from notifications.models import Message
from outbox.events import DomainEvent
from outbox.transitions import edges
from payments.models import Breaker, Dispute, Payment, Refund
from shop import process_managers as process
from shop.acceptance import Verdict
from shop.models import Order, Screening
from shop.process_managers import NotPossible, OrderProcess, apply
from tests.unit import test_order_process as facts

MODELS: list[Any] = [Payment, Refund, Dispute, Breaker, Order, Screening, Message]
STATES = Path(__file__).parents[2] / "docs" / "states.md"


def documented(section: str) -> set[str]:
    text = STATES.read_text()
    part = re.split(r"^## ", text, flags=re.MULTILINE)
    (table,) = [each for each in part if each.startswith(section + "\n")]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([\w, ]+) \|", table, flags=re.MULTILINE)
    return {f"{before}>{after}" for before, after, _ in rows if before != "from"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_page_is_the_models_graph(model: Any) -> None:
    assert documented(model.__name__) == set(edges(model.TRANSITIONS))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_status_is_in_the_graph_or_final(model: Any) -> None:
    afters = {after for each in model.TRANSITIONS.values() for after in each}
    assert set(model.TRANSITIONS) | afters <= set(model.Status.values)
    assert set(model.Status.values) == set(model.TRANSITIONS) | afters
    final = re.search(rf"^## {model.__name__}\n.*?^Final: (.*?)\.", STATES.read_text(), re.MULTILINE | re.DOTALL)
    assert final is not None
    assert set(re.findall(r"\*\*(\w+)\*\*", final[1])) >= set(model.Status.values) - set(model.TRANSITIONS)


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_trigger_is_the_models_graph(model: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s",
            [model._meta.db_table, "declared_transitions"],
        )
        (definition,) = cursor.fetchone()
    assert re.findall(r"'(\w+>\w+)'", definition) == edges(model.TRANSITIONS)


@pytest.mark.django_db
def test_the_trigger_refuses_what_is_not_declared() -> None:
    payment = Payment.objects.create(
        order_id=1, reference="O-1", amount=100, currency="EUR", payment_method="pm_x", return_url="http://x"
    )
    with pytest.raises(IntegrityError, match="no transition leads from unprocessed to declined"), transaction.atomic():
        Payment.objects.filter(pk=payment.pk).update(status="declined", intent_id="pi_1")


def test_the_order_process_reaches_exactly_the_declared_transitions() -> None:
    """Walk everything that can be told to an order in any state."""
    events = [value for value in vars(facts).values() if isinstance(value, DomainEvent)]
    decisions = [
        *(facts.cancel, facts.accept, facts.reject),
        *(process.card_given, process.hold_expired, process.shipped, process.short, process.withdrawn),
    ]
    start = OrderProcess(status=Order.Status.PLACED)
    known, waiting = {start}, [start]
    reached = {"placed>cancelled"}  # sold out: written by place_order itself, in the order's own transaction
    while waiting:
        state = waiting.pop()
        steps = [apply(state, event, verdict=verdict)[0] for event in events for verdict in Verdict]
        for decide in decisions:
            try:
                steps.append(decide(state)[0])
            except NotPossible:
                continue
        for after in steps:
            if after.status != state.status:
                reached.add(f"{state.status}>{after.status}")
            if after not in known:
                known.add(after)
                waiting.append(after)
    assert reached == set(edges(Order.TRANSITIONS))
