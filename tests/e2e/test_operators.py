"""Two operators at once, each in a browser of their own: what moves money is done once, and the second reads who was
first. The pages are looked at in every light and size on the way."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from shop.local.store import LocalStore
from tests.e2e.looks import inspect
from tests.e2e.shopping import SETTLES, decide, of_order, order, sees

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("problems")]

PASSWORD = "operators-of-the-tests"
_numbers = itertools.count(1)
Hire = Callable[..., "Operator"]


class Operator:
    """A person of a group, logged in."""

    def __init__(self, page: Page, store: LocalStore, name: str) -> None:
        self.page, self.name, self._store = page, name, store
        page.goto(f"{store.address}/admin/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()

    def open(self, kind: str, number: object) -> None:
        self.page.goto(f"{self._store.address}/admin/{kind}/{number}/change/")

    def ask(self, label: str, **typed: str) -> None:
        """The button on the row's page, and the confirmation filled in but not sent."""
        self.page.get_by_role("link", name=label, exact=True).first.click()
        self.page.get_by_label("Reason").fill(f"{self.name} was asked to")
        for name, value in typed.items():
            self.page.get_by_label(name).fill(value)

    def confirm(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def was_first(self) -> None:
        expect(self.page.locator(".messagelist .success")).to_be_visible()

    def reads_of(self, first: "Operator", *, what: str) -> None:
        told = self.page.get_by_role("alert")
        expect(told).to_contain_text("Nothing was done: something has changed since you looked.")
        expect(told).to_contain_text(f"operator:{first.name} at")
        expect(told).to_contain_text(what)
        expect(told).to_contain_text(f"{first.name} was asked to")


@pytest.fixture
def hire(browser: Browser, store: LocalStore) -> Iterator[Hire]:
    """Operators of these groups."""
    contexts = []

    def make(*groups: str) -> Operator:
        name = f"olga-{next(_numbers)}"
        user = f"User.objects.create_user({name!r}, password={PASSWORD!r}, is_staff=True)"
        groups_of = f"m.Group.objects.filter(name__in={groups!r})"
        decide(store, f"{user}.groups.set({groups_of})", module="django.contrib.auth.models")
        contexts.append(browser.new_context())
        return Operator(contexts[-1].new_page(), store, name)

    yield make
    for context in contexts:
        context.close()


def refunds(store: LocalStore, page: Page) -> list[tuple[object, ...]]:
    (number,) = of_order(store, page, "p.id")
    return store.query(f"SELECT amount, status FROM payments_refund WHERE payment_id = {number} ORDER BY id")  # noqa: S608


def test_two_refunds_of_the_same_scratch_are_one(page: Page, store: LocalStore, hire: Hire) -> None:
    order(page, store)
    sees(page, "Thank you: paid")
    (payment,) = of_order(store, page, "p.id")
    first, second = hire("Payment operator"), hire("Payment operator")
    for each in (first, second):
        each.open("payments/payment", payment)
        each.ask("Refund", Amount="5.00")
    inspect(first.page, "admin-confirm-refund")
    first.confirm("Refund")
    second.confirm("Refund")
    first.was_first()
    second.reads_of(first, what="€23.00 refundable → €5.00")
    inspect(second.page, "admin-overtaken")
    assert len(refunds(store, page)) == 1
    expect(page.get_by_text("We have sent €5.00 back to your card", exact=True)).to_be_visible(timeout=SETTLES)
    first.open("payments/payment", payment)
    expect(first.page.get_by_role("heading", name="Timeline of the order")).to_be_visible()
    inspect(first.page, "admin-payment")
    # The back button brings no old form: the page is as new, and names what was done.
    second.page.go_back()
    expect(second.page.locator("ul.decided")).to_contain_text(f"operator:{first.name}: refund")
    second.confirm("Refund")
    expect(second.page.get_by_text("This field is required.")).to_be_visible()
    assert len(refunds(store, page)) == 1


def test_a_double_click_refunds_once(page: Page, store: LocalStore, hire: Hire) -> None:
    order(page, store)
    sees(page, "Thank you: paid")
    (payment,) = of_order(store, page, "p.id")
    olga = hire("Payment operator")
    olga.open("payments/payment", payment)
    olga.ask("Refund", Amount="3.00")
    olga.page.get_by_role("button", name="Refund", exact=True).dblclick()
    expect(olga.page.locator(".messagelist li")).to_be_visible()
    assert [amount for amount, _ in refunds(store, page)] == [300]


def test_a_large_refund_takes_two_and_only_one_of_two_approvers_counts(
    page: Page, store: LocalStore, hire: Hire
) -> None:
    order(page, store, slug="ridge-tent")
    sees(page, "Thank you: paid")
    (payment,) = of_order(store, page, "p.id")
    asking = hire("Payment operator")
    asking.open("payments/payment", payment)
    asking.ask("Refund")
    asking.confirm("Refund")
    expect(asking.page.locator(".messagelist .success")).to_contain_text("waits for a second person")
    first, second = hire("Approver"), hire("Approver")
    for each in (first, second):
        each.open("payments/payment", payment)
    first.ask("Approve")
    second.ask("Refuse")
    inspect(first.page, "admin-confirm-approval")
    first.confirm("Approve")
    second.confirm("Refuse")
    first.was_first()
    second.reads_of(first, what="awaiting_approval → unprocessed")
    expect(page.get_by_text("back to your card; your bank")).to_be_visible(timeout=SETTLES)
    assert [status for _, status in refunds(store, page)] == ["succeeded"]


def test_one_accepts_and_one_rejects_the_same_order(page: Page, store: LocalStore, hire: Hire) -> None:
    order(page, store, slug="ridge-tent", quantity=9)
    sees(page, "We are checking your order")
    (number,) = of_order(store, page, "o.id")
    first, second = hire("Payment operator"), hire("Payment operator")
    for each in (first, second):
        each.open("shop/order", number)
    inspect(first.page, "admin-order")
    first.ask("Reject the order")
    second.ask("Accept the order")
    first.confirm("Reject the order")
    second.confirm("Accept the order")
    first.was_first()
    second.reads_of(first, what="under_review → cancelling")
    sees(page, "We could not accept this order")
    assert of_order(store, page, "o.status, p.status, p.attempts") == ("cancelled", "canceled", 0)


def test_one_cancels_while_the_other_refunds(page: Page, store: LocalStore, hire: Hire) -> None:
    order(page, store)
    sees(page, "Thank you: paid")
    number, payment = of_order(store, page, "o.id, p.id")
    first, second = hire("Payment operator"), hire("Payment operator")
    first.open("shop/order", number)
    second.open("payments/payment", payment)
    first.ask("Cancel the order")
    second.ask("Refund", Amount="5.00")
    first.confirm("Cancel the order")
    second.confirm("Refund")
    first.was_first()
    second.reads_of(first, what="accepted → cancelling")
    assert refunds(store, page) == []


def test_two_at_once_hurry_the_same_payment(page: Page, store: LocalStore, hire: Hire) -> None:
    order(page, store, card="needs 3-D Secure")
    sees(page, "Please confirm your payment")
    (payment,) = of_order(store, page, "p.id")
    first, second = hire("Payment operator"), hire("Payment operator")
    for each in (first, second):
        each.open("payments/payment", payment)
        each.ask("Ask the bank again")
    first.confirm("Ask the bank again")
    second.confirm("Ask the bank again")
    first.was_first()
    second.reads_of(first, what="check")


def test_every_list_is_for_everybody(store: LocalStore, hire: Hire) -> None:
    olga = hire("Administrator")
    olga.page.goto(f"{store.address}/admin/")
    inspect(olga.page, "admin-index")
    for name in ("payments/payment", "shop/order", "shop/product", "notifications/message", "outbox/event"):
        olga.page.goto(f"{store.address}/admin/{name}/")
        expect(olga.page.locator("#changelist")).to_be_visible()
        inspect(olga.page, f"admin-list-{name.replace('/', '-')}")
    olga.page.goto(f"{store.address}/admin/outbox/decision/")
    inspect(olga.page, "admin-list-decisions")
