"""A payment against the bank: whatever the bank, the network, the workers, the customer and people do, in any order.

The model is the bank's own ledger and the declared graph: at most one charge, never more back than that, one end that
is told once and is true, no status outside the graph, and nothing unfinished that nobody will look at again.
"""

from typing import Any

import pytest
import requests
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from outbox.worker import Engine
from payments import bank_events, breaker, refund_worker, refunds, services, worker
from payments.gateways.base import BankNotice
from payments.models import Breaker, Payment, PaymentAttempt, Refund
from tests import clean
from tests.integration.payments.scene import Scene
from tests.properties.ledger import Ledger
from tests.properties.profiles import tried
from tests.sandbox_process import SandboxProcess

AMOUNT = 5000
VISA, SECURE = "pm_card_visa", "pm_card_threeDSecure2Required"
cards = st.sampled_from([VISA, VISA, SECURE, "pm_card_visa_chargeDeclined", "pm_gone123"])
# The next call of that kind fails so; a delay is longer than we wait.
faults = st.tuples(
    st.sampled_from(
        ["payment_intents.create", "payment_intents.confirm", "payment_intents.*", "refunds.create", "bank"]
    ),
    st.sampled_from(
        [
            *("drop_before", "drop_after", "reset", "cut_body", "malformed_body", "delay_answer"),
            *("error_500_before", "error_500_after", "rate_limit", "conflict_409"),
        ]
    ),
)
ENDS = {"PaymentProcessed": "succeeded", "PaymentFailed": "failed", "PaymentCanceled": "canceled"}
WAITS_FOR_PEOPLE = ("declined", *Payment.FINAL)


class Money(RuleBasedStateMachine):
    """One payment, its refunds, and two workers for it, moved step by step; a third does all refunds at once."""

    sandbox: SandboxProcess

    @initialize(card=cards, failing=st.lists(faults, max_size=2), released=st.sampled_from([True, True, True, False]))
    def begin(self, card: str, failing: list[tuple[str, str]], released: bool) -> None:
        clean.restore()
        Breaker.objects.all().delete()
        breaker.ensure()
        self.sandbox.clear_faults()
        self.scene = Scene(self.sandbox)
        self.ledger = Ledger(self.sandbox)
        self.pk = self.scene.payment(card=card, amount=AMOUNT, released=False).pk
        self.workers: list[Engine[Any, Any]] = [worker.make_engine(in_flight=1) for _ in range(2)]
        self.released = False
        self.requests = self.notices = 0
        self.told = False  # by the bank, that the intent is charged
        self.ended = ""
        for each in failing:
            self.the_next_call_fails(each)
        if released:
            self.release()

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        try:
            self.it_ends_well()
        finally:
            for each in self.workers:
                each.close()
            self.sandbox.clear_faults()

    @property
    def payment(self) -> Payment:
        return Payment.objects.get(pk=self.pk)

    # --- the order process, the customer and people -----------------------------------------------

    @precondition(lambda self: not self.released)
    @rule()
    def release(self) -> None:
        services.release(order_ids=[self.payment.order_id])
        self.released = True

    @precondition(lambda self: self.released)
    @rule(dice=st.integers(1, 6))
    def cancel(self, dice: int) -> None:
        if dice == 5:  # or few payments would ever be charged
            services.cancel(order_ids=[self.payment.order_id])

    @precondition(lambda self: self.payment.attempts)
    @rule(card=cards)
    def another_card(self, card: str) -> None:
        if self.payment.status == "declined":
            services.give_card(order_id=self.payment.order_id, payment_method=card)
        else:
            with pytest.raises(services.NotPayable):
                services.give_card(order_id=self.payment.order_id, payment_method=card)

    @precondition(lambda self: self.payment.status == "requires_action")
    @rule(outcome=st.sampled_from(["succeed", "fail"]))
    def the_customer_answers(self, outcome: str) -> None:
        address = f"{self.sandbox.url}/3ds/{self.payment.intent_id}"
        requests.post(address, data={"outcome": outcome}, allow_redirects=False, timeout=10)

    @precondition(lambda self: self.payment.attempts)
    @rule(amount=st.sampled_from([1, 1000, 3000, AMOUNT, AMOUNT + 1]), by_person=st.booleans())
    def a_refund_is_asked_for(self, amount: int, by_person: bool) -> None:
        self.requests += 1
        asked: dict[str, Any] = {
            "order_id": self.payment.order_id,
            "amount": amount,
            "reason": "scratched",
            "request_token": str(self.requests // 2),  # every other one is the same request again
            "actor": "operator:olga",
            "by_person": by_person,
        }
        repeated = Refund.objects.filter(request_token=asked["request_token"]).first()
        left = refunds.refundable(self.payment)
        if repeated is None and amount > left:
            with pytest.raises(refunds.NotRefundable):
                refunds.request_refund(**asked)
            return
        refund = refunds.request_refund(**asked)
        assert repeated is None or refund.pk == repeated.pk
        assert refunds.refundable(self.payment) == (left if repeated else left - amount)

    @precondition(lambda self: Refund.objects.filter(status="awaiting_approval").exists())
    @rule(approve=st.booleans())
    def another_person_decides(self, approve: bool) -> None:
        refund = Refund.objects.filter(status="awaiting_approval").earliest("pk")
        with pytest.raises(refunds.SamePerson):
            refunds.decide(refund_id=refund.pk, approve=approve, actor="operator:olga", reason="mine")
        refunds.decide(refund_id=refund.pk, approve=approve, actor="operator:omar", reason="seen")

    # --- the bank and the clock -------------------------------------------------------------------

    @rule(fault=faults)
    def the_next_call_fails(self, fault: tuple[str, str]) -> None:
        op, kind = fault
        self.sandbox.add_fault(op, kind, times=1, seconds=0.5)

    @rule(again=st.booleans())
    def a_webhook_comes(self, again: bool) -> None:
        self.notices += not again
        self.told = True
        payment = self.payment
        bank_events.store(
            BankNotice(
                event_id=f"evt_{self.pk}_{self.notices}",
                type="payment_intent.succeeded",
                created=payment.created_at,
                livemode=False,
                intent_id=payment.intent_id or "pi_early",
                payment_ref=payment.public_id,
            )
        )

    @rule()
    def time_passes(self) -> None:
        self.scene.make_due()

    # --- workers ----------------------------------------------------------------------------------

    @precondition(lambda self: self.released)
    @rule(which=st.integers(0, 1), later=st.booleans(), turns=st.lists(st.booleans(), min_size=1, max_size=5))
    def works(self, which: int, later: bool, turns: list[bool]) -> None:
        """Some turns of one worker: it claims or records, or it hears an answer and has not recorded it yet."""
        if later:
            self.time_passes()
        for hears in turns:
            if hears:
                self.hears_the_answer(which)
            else:
                self.workers[which].run_once()

    def hears_the_answer(self, which: int) -> None:
        if self.workers[which]._running:
            self.workers[which]._wait_for_answer(None)

    @precondition(lambda self: self.released)
    @rule(which=st.integers(0, 1), later=st.booleans())
    def goes_on_until_nothing_is_due(self, which: int, later: bool) -> None:
        if later:
            self.time_passes()
        self.workers[which].run_until_idle(seconds=20)

    @precondition(lambda self: self.payment.token)
    @rule(which=st.integers(0, 1))
    def dies(self, which: int) -> None:
        dead = self.workers[which]
        self.hears_the_answer(which)  # it is on the bank's side already
        dead._held.clear()
        dead.close()
        self.workers[which] = worker.make_engine(in_flight=1)

    @precondition(lambda self: Refund.objects.exists())
    @rule()
    def refunds_are_worked_on(self) -> None:
        engine = refund_worker.make_engine(in_flight=2)
        try:
            engine.run_until_idle(seconds=20)
        finally:
            engine.close()

    # --- what always holds ------------------------------------------------------------------------

    def charges(self) -> list[dict[str, Any]]:
        return [each for each in self.ledger.objects("charge") if each["status"] == "succeeded"]

    def sent_back(self) -> int:
        return sum(
            each["amount"] for each in self.ledger.objects("refund") if each["status"] in ("pending", "succeeded")
        )

    @invariant()
    def the_bank_has_charged_at_most_once(self) -> None:
        charges = self.charges()
        assert len(charges) <= 1
        assert self.sent_back() <= sum(each["amount"] for each in charges)
        assert not charges or self.released
        if self.payment.status == "succeeded":
            assert [each["amount"] for each in charges] == [AMOUNT]
        if self.payment.status in ("failed", "canceled"):
            assert charges == []
            ours = [each for each in self.ledger.objects("payment_intent") if each["id"] == self.payment.intent_id]
            assert [each["status"] for each in ours] == ["canceled"] * len(ours)

    @invariant()
    def an_end_is_told_once_and_never_changes(self) -> None:
        payment = self.payment
        told = [each for each in self.scene.facts(payment) if each in ENDS]
        assert [ENDS[each] for each in told] == ([payment.status] if payment.status in Payment.FINAL else [])
        assert self.ended in ("", payment.status)
        self.ended = payment.status if payment.status in Payment.FINAL else ""

    @invariant()
    def its_claim_is_whole_and_nothing_is_forgotten(self) -> None:
        payment = self.payment
        assert payment.blocked_reason == ""
        assert (payment.token is None) == (payment.claimed_by == "")
        if payment.status == "declined" and self.told:
            pass  # it is read once more: the bank's word is worth more than what we remember
        elif payment.status in WAITS_FOR_PEOPLE:
            assert (payment.token, payment.due_at) == (None, None)
        else:
            assert (payment.due_at is not None) == (self.released or payment.status != "unprocessed")
        for refund in Refund.objects.all():
            assert refund.blocked_reason == "" or "no refund with our id" in refund.blocked_reason
            if refund.status in ("unprocessed", "processing", "unknown", "pending") and not refund.blocked_reason:
                assert refund.due_at is not None

    @invariant()
    def one_key_is_one_body(self) -> None:
        sent = PaymentAttempt.objects.exclude(key="").values_list("key", "request")
        bodies: dict[str, Any] = {}
        for key, body in sent:
            assert bodies.setdefault(key, body) == body

    def it_ends_well(self) -> None:
        """The bank works again and time passes: the payment ends, or waits for its customer; the books agree."""
        self.sandbox.clear_faults()
        for which in (0, 1):
            self.dies(which)
        for _ in range(6):
            self.time_passes()
            self.workers[0].run_until_idle(seconds=20)
            self.refunds_are_worked_on()
        payment = self.payment
        assert payment.status in {*Payment.FINAL, "declined", "requires_action"} or not self.released
        assert len(self.charges()) == (payment.status == "succeeded")
        sent = Refund.objects.filter(status="succeeded").values_list("amount", flat=True)
        assert self.sent_back() == sum(sent)
        told = self.scene.facts(payment)
        assert told.count("RefundProcessed") == len(sent)


def test_a_payment_is_charged_once_whatever_happens(store: None, sandbox: SandboxProcess, settings: Any) -> None:
    at_the_bank(sandbox, settings)
    run_state_machine_as_test(Money, settings=tried(12, steps=25))


def test_another_card_is_no_reason_to_leave_the_intent_open(
    store: None, sandbox: SandboxProcess, settings: Any
) -> None:
    """Cancelled between the other card and the worker's next look."""
    at_the_bank(sandbox, settings)
    clean.restore()
    scene = Scene(sandbox)
    payment = scene.payment(card="pm_card_visa_chargeDeclined")
    scene.work()
    services.give_card(order_id=payment.order_id, payment_method=VISA)
    services.cancel(order_ids=[payment.order_id])
    scene.work()
    assert scene.fresh(payment).status == "canceled"
    assert [each["status"] for each in scene.intents(payment)] == ["canceled"]
    assert scene.facts(payment) == ["PaymentDeclined", "PaymentCanceled"]


def at_the_bank(sandbox: SandboxProcess, settings: Any) -> None:
    sandbox.clear_faults()
    settings.STRIPE_API_BASE = sandbox.url
    settings.PAYMENT_SETTLE_SECONDS = 0.05
    settings.PAYMENT_READ_TIMEOUT = 0.3
    settings.PAYMENT_CALL_DEADLINE = 1.0
    settings.REFUND_APPROVAL_ABOVE = 2000
    settings.PAYMENT_CALLS_PER_SECOND = 0
    Money.sandbox = sandbox
