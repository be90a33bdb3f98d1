"""What shoppers do once they have ordered: confirm at their bank or refuse, give another card, change their mind."""

import random
import time

from shop.simulation.browser import Browser, Refused
from shop.simulation.pages import Form, Page

# A card that pays, for those whose first one did not.
GOOD_CARD = "pm_card_visa"
# Seconds between two looks at the order's page, as its script takes them at first, and until a shopper goes home,
# however it stands.
LOOK_EVERY = 1.0
GO_HOME_AFTER = 60.0

# Shares of the shoppers.
CHANGE_THEIR_MIND_AT_ONCE = 0.06
CHANGE_THEIR_MIND_ONCE_PAID = 0.08
REFUSE_AT_THEIR_BANK = 0.3
GIVE_UP_AFTER_A_DECLINE = 0.2


def see_through(page: Page, place: str, *, browser: Browser, dice: random.Random, acts: list[str]) -> None:
    """Stay on the order's page, which is shown, until nothing is asked of the shopper and nothing is expected soon;
    `acts` gets what was done, in order. All choices are made by the dice before anything is awaited, so that they do
    not depend on time."""
    at_once, once_paid = dice.random() < CHANGE_THEIR_MIND_AT_ONCE, dice.random() < CHANGE_THEIR_MIND_ONCE_PAID
    refuses, gives_up = dice.random() < REFUSE_AT_THEIR_BANK, dice.random() < GIVE_UP_AFTER_A_DECLINE
    place = browser.address(place)  # whole: on the way, the browser is at the bank
    deadline = time.monotonic() + GO_HOME_AFTER
    while time.monotonic() < deadline:
        cancel = _cancel_form(page)
        card = page.form_with("payment_method")
        bank = next((link for link in page.links if "/3ds/" in link), None)
        expected_soon = page.poll == "soon"
        if cancel is not None and (at_once or (once_paid and not expected_soon) or (gives_up and card is not None)):
            browser.send(cancel, {"action": "cancel"})
            acts.append("cancelled")
            at_once = once_paid = gives_up = False
        elif bank is not None:
            _answer_at_bank(bank, browser=browser, outcome="reject" if refuses else "approve")
            acts.append("refused at the bank" if refuses else "confirmed at the bank")
            refuses = False
        elif card is not None:
            browser.send(card, {"payment_method": GOOD_CARD})
            acts.append("gave another card")
        elif not expected_soon:
            return
        time.sleep(LOOK_EVERY)
        page = browser.look_again(place, page)


def _cancel_form(page: Page) -> Form | None:
    return next((form for form in page.forms if form.method == "post" and form.choices("action") == ["cancel"]), None)


def _answer_at_bank(link: str, *, browser: Browser, outcome: str) -> None:
    """On the bank's page, which sends the customer back to the store."""
    try:
        form = browser.get(link).form_with("outcome")
    except Refused:
        return
    if form is None:
        return  # it no longer waits for an answer
    answer = browser.patiently(lambda *, again: browser.post(form, {"outcome": outcome}))
    if answer.is_redirect:
        browser.get(answer.headers["Location"])
