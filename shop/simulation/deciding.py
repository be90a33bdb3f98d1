"""Operators who decide what waits for a person, until nothing does: refunds to approve, orders to review, concerns."""

import random
from collections.abc import Callable, Sequence

from shop.simulation.admin_site import (
    AdminBrowser,
    Broken,
    Login,
    Outcome,
    offers_of,
    open_confirmation,
    operation_at,
    rows_of,
    send,
)
from shop.simulation.browser import Refused, Unanswered
from shop.simulation.operators import ENOUGH, WAITING, Habits, Shift


class Decider:
    """One operator who works off what waits. `left` is how many rows wait that this one may not decide about."""

    def __init__(self, number: int, *, login: Login, habits: Habits) -> None:
        self.shift = Shift(operator=number, login=login.name)
        self.left = 0
        self._login = login
        self._dice = random.Random(f"{habits.seed}:decides:{number}")  # noqa: S311 - repeatable on purpose
        self._browser = AdminBrowser(base_url=habits.base_url, patience=habits.patience)

    def once(self) -> int:
        """Look through everything that waits, once; returns how many rows were decided."""
        decided = self.left = 0
        try:
            if not self._browser.session.cookies:
                self._browser.log_in(self._login)
            for (folder, which), names in WAITING.items():
                for row in rows_of(self._browser.visit(f"{folder}{which}"), folder):
                    done = self._decide(row, names)
                    decided += done
                    self.left += not done
        except (Broken, Refused, Unanswered) as wrong:
            self.shift.failures.append(f"{type(wrong).__name__.lower()}: {wrong}")
        self.shift.retries = self._browser.retries
        return decided

    def _decide(self, row: str, names: Sequence[str]) -> bool:
        self.shift.rows += 1
        _, app, model, key, *_ = row.strip("/").split("/")
        offers = offers_of(self._browser.visit(row), row=f"{app}.{model}/{key}/")
        fitting = [each for each in offers if operation_at(each).endswith(tuple(f" {name}" for name in names))]
        if not fitting:
            return False
        offer = self._dice.choice(fitting)
        found = open_confirmation(self._browser, offer)
        if not isinstance(found, Outcome):
            found = send(self._browser, found, {"reason": "Looked at it, and decided."})
        self.shift.outcomes[operation_at(offer), found] += 1
        return found in (Outcome.DONE, Outcome.REPEATED)


def decide_all(deciders: Sequence[Decider], *, after_each: Callable[[], None] = lambda: None) -> None:
    """Turn by turn, until a whole round decides nothing."""
    decided = True
    while decided and not any(len(each.shift.failures) >= ENOUGH for each in deciders):
        decided = False
        for each in deciders:
            decided = each.once() > 0 or decided
            after_each()
