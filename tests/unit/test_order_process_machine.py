"""The order process under every order of facts that bank, warehouse, people and clock can produce."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from outbox.events import DomainEvent
from shop import process_managers as process
from shop.acceptance import Verdict
from shop.models import Order
from shop.process_managers import Command as C
from shop.process_managers import NotPossible, OrderProcess, Step, apply
from tests.unit.test_order_process import (
    ACTION,
    CANCELED,
    DECLINED,
    DISPUTED,
    LOST,
    PLACED,
    PROCESSED,
    WON,
    accept,
    cancel,
    reject,
)

Status = Order.Status


class OrderLife(RuleBasedStateMachine):
    """A bank that charges or refuses exactly once, a warehouse that answers what it was asked, and people and a
    clock that come at any time. The process must keep the books straight whatever the order."""

    @initialize(verdict=st.sampled_from(Verdict))
    def place(self, verdict: Verdict) -> None:
        self.state = OrderProcess(status=Status.PLACED)
        self.issued: Counter[C] = Counter()
        self.bank = "idle"  # → open → paid | ended
        self.cancel_asked = False
        self.left_the_warehouse = False
        self.dispute = ""
        self.tell(PLACED, verdict=verdict)

    def tell(self, event: DomainEvent, verdict: Verdict = Verdict.ACCEPT) -> None:
        self.take(apply(self.state, event, verdict=verdict))

    def take(self, step: Step) -> None:
        self.state, commands = step
        self.issued.update(commands)
        if C.RELEASE_PAYMENT in commands:
            self.bank = "open"
        if C.CANCEL_PAYMENT in commands:
            self.cancel_asked = True

    def person(self, decide: object) -> None:
        try:
            self.take(decide(self.state))  # type: ignore[operator]
        except NotPossible:
            return

    @precondition(lambda self: self.bank == "open")
    @rule(outcome=st.sampled_from([PROCESSED, DECLINED, ACTION]))
    def bank_answers(self, outcome: DomainEvent) -> None:
        if outcome is PROCESSED:
            self.bank = "paid"
        self.tell(outcome)

    @precondition(lambda self: self.cancel_asked and self.bank in ("idle", "open"))
    @rule()
    def bank_ends_it(self) -> None:
        self.bank = "ended"
        self.tell(CANCELED)

    @rule(decide=st.sampled_from([cancel, accept, reject, process.card_given, process.hold_expired]))
    def people_and_clock(self, decide: object) -> None:
        self.person(decide)

    @precondition(lambda self: self.state.picking and not self.left_the_warehouse)
    @rule(answer=st.sampled_from([process.shipped, process.short, process.withdrawn]))
    def warehouse_answers(self, answer: object) -> None:
        self.left_the_warehouse = answer is process.shipped
        self.person(answer)

    @precondition(lambda self: self.bank == "paid" and not self.dispute)
    @rule()
    def customer_disputes(self) -> None:
        self.dispute = "open"
        self.tell(DISPUTED)

    @precondition(lambda self: self.dispute == "open")
    @rule(outcome=st.sampled_from([WON, LOST]))
    def dispute_ends(self, outcome: DomainEvent) -> None:
        self.dispute = "closed"
        self.tell(outcome)

    @invariant()
    def paid_is_what_the_bank_says(self) -> None:
        assert self.state.paid == (self.bank == "paid")
        assert self.issued[C.REPORT_PAID] == (1 if self.bank == "paid" else 0)

    @invariant()
    def a_hold_ends_once_and_never_while_money_may_move(self) -> None:
        ended = self.issued[C.RELEASE_STOCK] + self.issued[C.CONSUME_STOCK]
        assert ended <= 1
        if self.issued[C.RELEASE_STOCK]:
            assert self.bank in ("paid", "ended")
            assert not self.left_the_warehouse

    @invariant()
    def money_goes_back_at_most_once_and_only_for_what_did_not_leave(self) -> None:
        assert self.issued[C.REFUND] <= 1
        if self.issued[C.REFUND]:
            assert self.bank == "paid"
            assert not self.left_the_warehouse

    @invariant()
    def an_end_is_complete(self) -> None:
        """Ended and charged: refunded, or a person was asked, or the bank itself took the money back."""
        if self.state.status in process.ENDED and self.bank == "paid":
            assert self.issued[C.REFUND] or self.issued[C.ASK_A_PERSON]
        if self.state.status in process.ENDED:
            assert self.issued[C.RELEASE_STOCK] == 1
        if self.state.status == Status.SHIPPED:
            assert self.issued[C.CONSUME_STOCK] == 1
            assert self.state.paid


TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
