"""One operator: looks through the admin's lists, opens rows, and retries, cancels and refunds at random. Decides by
dice with a seed, sometimes twice, late, or with a form from long ago."""

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shop.simulation.admin_site import (
    AdminBrowser,
    Broken,
    Confirmation,
    Login,
    Outcome,
    offers_of,
    open_confirmation,
    operation_at,
    rows_of,
    send,
    send_twice,
)
from shop.simulation.browser import Refused, Unanswered

# Where operators look, and how often they go there.
LISTS = {
    "/admin/payments/payment/": 4,
    "/admin/shop/order/": 4,
    "/admin/payments/refund/": 4,
    "/admin/notifications/message/": 2,
    "/admin/shop/concern/": 2,
    "/admin/outbox/parkedevent/": 1,
}
# Where they find what waits for a person, and what ends it.
WAITING = {
    ("/admin/payments/refund/", "?status__exact=awaiting_approval"): ("approve", "refuse"),
    ("/admin/shop/order/", "?status__exact=under_review"): ("accept", "reject"),
    ("/admin/shop/concern/", "?resolved_at__isempty=1"): ("resolve",),
    ("/admin/payments/difference/", "?resolved_at__isempty=1"): ("resolve",),
    ("/admin/payments/payment/", "?blocked=yes"): ("unblock",),
    ("/admin/payments/refund/", "?blocked=yes"): ("unblock",),
    ("/admin/notifications/message/", "?blocked=yes"): ("unblock",),
    ("/admin/outbox/parkedevent/", "?status__exact=waiting"): ("retry",),
}
# Shares of the turns, or of the forms.
STAY_ON_THE_ROW = 0.3
STAY_WITH_THE_LIST = 0.6
LOOK_AT_WHAT_WAITS = 0.3
USE_A_FILTER = 0.5
LOOK_AT_THE_NEWEST = 0.5
GO_BACK_TO_AN_OLD_FORM = 0.12
LEAVE_IT_FOR_LATER = 0.1
THINK_FIRST = 0.25
PRESS_TWICE = 0.15
FILL_IT_WRONGLY = 0.04
REFUND_ALL = 0.4
# Rows at the top of a list that count as the newest.
NEWEST = 8
# Seconds that somebody thinks before they press the button, and between two turns.
THINKING, BETWEEN = (0.3, 3.0), (0.05, 0.4)
# Forms that lie about, open in other tabs.
OLD_FORMS = 12
# Failures after which an operator calls for help.
ENOUGH = 10

_REASONS = (
    "The customer has called.",
    "Asked for by e-mail, see the ticket.",
    "Looks odd — “twice” on the same day?",
    "Gutschrift für beschädigte Ware",
    "=1+1; <b>cleaning up</b>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What all operators of a run have in common. `patience` in seconds for one page."""

    base_url: str
    seed: int
    patience: float = 60.0


@dataclass(slots=True, kw_only=True)
class Shift:
    """What an operator went home with: outcomes by operation, and what the admin must not have done."""

    operator: int
    login: str
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    rows: int = 0
    retries: int = 0
    failures: list[str] = field(default_factory=list)


class Operator:
    """`number` and the seed decide all choices; what there is to choose from depends on the store."""

    def __init__(self, number: int, *, login: Login, habits: Habits) -> None:
        self.shift = Shift(operator=number, login=login.name)
        self._login = login
        self._dice = random.Random(f"{habits.seed}:{number}")  # noqa: S311 - repeatable on purpose
        self._browser = AdminBrowser(base_url=habits.base_url, patience=habits.patience)
        self._old: deque[tuple[Confirmation, Mapping[str, str]]] = deque(maxlen=OLD_FORMS)
        self._carried_out: set[str] = set()
        self._rows: list[str] = []
        self._offers: list[str] = []

    def work(self, stop: threading.Event, *, after_each: Callable[[], None] = lambda: None) -> Shift:
        """Until `stop`, or until enough went wrong. Never raises for what the site does."""
        with self._browser.session:
            if self._safely(lambda: self._browser.log_in(self._login)):
                while not stop.is_set() and len(self.shift.failures) < ENOUGH:
                    self._safely(lambda: self._turn(stop))
                    self.shift.retries = self._browser.retries
                    after_each()
                    stop.wait(self._dice.uniform(*BETWEEN))
        return self.shift

    def _safely(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except (Broken, Refused, Unanswered) as wrong:
            self.shift.failures.append(f"{type(wrong).__name__.lower()}: {wrong}")
            return False
        return True

    def _turn(self, stop: threading.Event) -> None:
        if self._old and self._dice.random() < GO_BACK_TO_AN_OLD_FORM:
            confirmation, answers = self._dice.choice(self._old)
            self._press(confirmation, answers)
            return
        if not self._offers or self._dice.random() > STAY_ON_THE_ROW:
            self._look_at_some_row()
        if not self._offers:
            return
        offers, self._offers = self._offers, []
        offer = self._dice.choice(offers)
        found = open_confirmation(self._browser, offer)
        if isinstance(found, Outcome):
            self.shift.outcomes[operation_at(offer), found] += 1
            return
        answers = self._filled(found)
        self._old.append((found, answers))
        if self._dice.random() < LEAVE_IT_FOR_LATER:
            return
        if self._dice.random() < THINK_FIRST:
            stop.wait(self._dice.uniform(*THINKING))
        self._press(found, answers)
        self._offers = offers  # as they stood before

    def _look_at_some_row(self) -> None:
        """Perhaps of a list that was opened some turns ago: what it shows may be long over."""
        if not self._rows or self._dice.random() > STAY_WITH_THE_LIST:
            self._rows = self._some_list()
        if self._rows:
            few = self._dice.random() < LOOK_AT_THE_NEWEST
            row = self._dice.choice(self._rows[:NEWEST] if few else self._rows)
            self._offers = offers_of(self._browser.visit(row))
            self.shift.rows += 1

    def _some_list(self) -> list[str]:
        if self._dice.random() < LOOK_AT_WHAT_WAITS:
            folder, which = self._dice.choice(list(WAITING))
            return rows_of(self._browser.visit(f"{folder}{which}"), folder)
        folder = self._dice.choices(list(LISTS), weights=list(LISTS.values()))[0]
        page = self._browser.visit(folder)
        filters = [link for link in page.links if link.startswith("?") and ("status" in link or "__isempty=" in link)]
        if filters and self._dice.random() < USE_A_FILTER:
            page = self._browser.visit(f"{folder}{self._dice.choice(filters)}")
        return rows_of(page, folder)

    def _filled(self, confirmation: Confirmation) -> dict[str, str]:
        wrongly = self._dice.random() < FILL_IT_WRONGLY
        answers = {"reason": " " if wrongly else self._dice.choice(_REASONS)}
        if confirmation.form.has("amount"):
            left = Decimal(confirmation.form.filled({})["amount"])
            cents = self._dice.randint(1, max(1, int(left * 100)))
            part = left if self._dice.random() < REFUND_ALL else Decimal(cents) / 100
            answers["amount"] = str(left + 1 if wrongly else part)
        return answers

    def _press(self, confirmation: Confirmation, answers: Mapping[str, str]) -> None:
        if self._dice.random() < PRESS_TWICE:
            outcomes = send_twice(self._browser, confirmation, answers)
        else:
            outcomes = [send(self._browser, confirmation, answers)]
        self.shift.outcomes.update((confirmation.operation, outcome) for outcome in outcomes)
        self._never_twice(confirmation, outcomes)

    def _never_twice(self, confirmation: Confirmation, outcomes: list[Outcome]) -> None:
        done = outcomes.count(Outcome.DONE)
        if done + (confirmation.token in self._carried_out) > 1:
            raise Broken(f"one form of {confirmation.operation} was carried out twice")
        if done:
            self._carried_out.add(confirmation.token)
