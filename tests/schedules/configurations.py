"""The configurations, the smallest first: the time that one does not need goes to those after it."""

from collections.abc import Callable

from payments import refunds
from payments.worker import make_engine
from shop import decisions
from tests.integration.orders import offer, place
from tests.schedules import parts
from tests.schedules.configuration import Configuration
from tests.schedules.stage import Stage

DECLINED, THREE_D_SECURE, GOOD = "pm_card_visa_chargeDeclined", "pm_card_threeDSecure2Required", "pm_card_visa"
# Relay and dispatcher each as one step: their order against others is what matters there, not what is inside.
INSIDE_FACTS = frozenset({"R1", "R2", "D1", "D2", "C1"})


def _placed(*, card: str = GOOD, price: int = 2000) -> Callable[[Stage], None]:
    """An order whose payment is due."""

    def scene(stage: Stage) -> None:
        stage.order_id = place(offer(price=price), card=card).order.pk
        stage.carry_facts()

    return scene


def _settled(*, card: str = GOOD, price: int = 2000) -> Callable[[Stage], None]:
    """An order whose payment the bank has answered about: accepted and being picked, or waiting for its customer."""

    def scene(stage: Stage) -> None:
        _placed(card=card, price=price)(stage)
        stage.work(make_engine)
        stage.carry_facts()

    return scene


def _being_refunded(stage: Stage) -> None:
    """Paid; an operator has asked for most of it back, which waits for approval; the customer has cancelled, and the
    warehouse has not answered yet."""
    _settled(price=12_000)(stage)
    refunds.request_refund(
        order_id=stage.order_id,
        amount=11_000,
        reason="late",
        request_token="first",
        actor="operator:olga",
        by_person=True,
    )
    decisions.cancel_order(order_id=stage.order_id, actor="shopper", reason="changed my mind")
    stage.carry_facts()


CONFIGURATIONS = {
    each.name: each
    for each in (
        Configuration(
            name="shipping",
            about="an accepted order: an operator cancels while the warehouse ships; the log, one killed",
            scene=_settled(),
            parts=[parts.operator_cancels(), parts.warehouse("shipped"), parts.facts()],
            kills=1,
        ),
        Configuration(
            name="short",
            about="an accepted order: an operator and the customer cancel while goods are missing; the log, refunds",
            scene=_settled(),
            parts=[
                parts.operator_cancels(),
                parts.customer_cancels(),
                parts.warehouse("short"),
                *parts.refund_workers(1),
                parts.facts(),
            ],
            passed=INSIDE_FACTS | {"D3"},
        ),
        Configuration(
            name="second-card",
            about="card A was declined; the customer gives B, whose confirm gets no answer and may arrive late",
            scene=_settled(card=DECLINED),
            parts=[*parts.payment_workers(2), parts.customer_gives_card(), parts.next_try_comes()],
            time_outs=1,
        ),
        Configuration(
            name="workers",
            about="one payment: two workers, the lease ends, one of them is killed",
            scene=_placed(),
            parts=[*parts.payment_workers(2), parts.lease_ends()],
            kills=1,
        ),
        Configuration(
            name="cancel",
            about="a worker, an operator who cancels, the lease ends, somebody is killed",
            scene=_placed(),
            parts=[*parts.payment_workers(1), parts.operator_cancels(), parts.lease_ends()],
            kills=1,
        ),
        Configuration(
            name="cards",
            about="a worker stalls with card A, which is declined; another looks; the customer gives card B",
            scene=_placed(card=DECLINED),
            parts=[*parts.payment_workers(2), parts.lease_ends(), parts.facts(), parts.customer_gives_card()],
            passed=INSIDE_FACTS | {"D3"},
        ),
        Configuration(
            name="3-d-secure",
            about="the hold expires while the customer confirms at the bank; a worker, the webhook, the log",
            scene=_settled(card=THREE_D_SECURE),
            parts=[
                *parts.payment_workers(1),
                parts.customer_confirms(),
                parts.webhook(),
                parts.hold_expires(),
                parts.facts(),
            ],
            passed=INSIDE_FACTS | {"D3"},
        ),
        Configuration(
            name="webhook",
            about="a worker, the bank's webhook, a nudge, an operator's retry, the lease ends",
            scene=_placed(),
            parts=[
                *parts.payment_workers(1),
                parts.webhook(),
                parts.nudge(),
                parts.operator_retries(),
                parts.lease_ends(),
            ],
        ),
        Configuration(
            name="refunds",
            about="two refund workers, an approval, the warehouse gives up a cancelled order; lease, kill",
            scene=_being_refunded,
            parts=[
                *parts.refund_workers(2),
                parts.operator_approves(),
                parts.warehouse("withdrawn"),
                parts.lease_ends(),
            ],
            kills=1,
        ),
        Configuration(
            name="time-outs",
            about="a call gets no answer and arrives later: a worker, an operator who cancels, the lease ends",
            scene=_placed(),
            parts=[*parts.payment_workers(2), parts.operator_cancels(), parts.lease_ends()],
            time_outs=1,
        ),
        Configuration(
            name="cancel-two",
            about="the same as cancel, with a second worker",
            scene=_placed(),
            parts=[*parts.payment_workers(2), parts.operator_cancels(), parts.lease_ends()],
            kills=1,
        ),
    )
}
