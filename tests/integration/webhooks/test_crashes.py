"""A web server that dies at any point of a webhook: it is sent again, and counts once."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from payments.models import BankEvent, Payment
from tests.integration.webhooks.conftest import outside_of_store
from tests.integration.webhooks.senders import an_intent, bank_event
from tests.local.waiting import wait_until
from tests.web_process import WebProcess

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World


@pytest.mark.parametrize(("point", "kept"), [("W1", 0), ("W2", 0), ("W3", 1)])
def test_what_was_not_answered_is_sent_again(world: "World", tmp_path: Path, point: str, kept: int) -> None:
    payment = world.payment(card="pm_card_threeDSecure2Required")
    world.work()
    before = world.fresh(payment).nudges
    event = bank_event(about=an_intent(payment=payment.public_id))
    with WebProcess(tmp_path / "web.log") as web:
        web.start(CRASH_POINT=point)
        dying = type(world)(web, world.sandbox)
        with pytest.raises(OSError):  # noqa: PT011 - whichever way the connection breaks
            dying.tell(event)
        assert BankEvent.objects.filter(event_id=event["id"]).count() == kept
        web.kill()
        web.start()
        assert dying.tell(event) == 200
        assert dying.tell(event) == 200
    assert BankEvent.objects.get(event_id=event["id"]).status == BankEvent.Status.APPLIED
    assert world.fresh(payment).nudges == before + 1


def test_a_restart_of_the_store_loses_nothing(world: "World", tmp_path: Path) -> None:
    payment = world.payment(card="pm_card_threeDSecure2Required")
    world.work()
    world.web.kill()
    try:
        world.answer_3ds(payment, "approve")
    finally:
        world.web.start(**outside_of_store(world.sandbox))
    wait_until(lambda: BankEvent.objects.filter(payment_ref=payment.public_id, status="applied").exists())
    world.work()
    assert world.fresh(payment).status == Payment.Status.SUCCEEDED
