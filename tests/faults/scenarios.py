"""What is done to bring a process to each crash point: real traffic, over and over until the point was hit.

A scenario is a round of it. It returns once the order stands where it will stay, whatever was killed meanwhile.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import requests
from django.db import connection

from payments.models import Payment
from shop.groups import OPERATOR
from shop.simulation.browser import TIMEOUT, Browser
from shop.simulation.pages import Form, Page
from tests.faults.crash_store import CrashStore
from tests.integration.admin.operators import Operator, address

# Rounds of one scenario, after which a point counts as never hit.
ROUNDS = 6
ANSWERS = {
    "name": "Ada Lovelace",
    "email": "ada@customers.example",
    "address": "Am Sandtorkai 1",
    "postal_code": "20457",
    "city": "Hamburg",
    "country": "DE",
    "shipping": "standard",
}
THREE_D_SECURE, DECLINED = "pm_card_threeDSecure2Required", "pm_card_visa_chargeDeclined"
DISPUTED = "pm_card_createDispute"


@dataclass
class Visit:
    """One shopper's browser at the store, and what is promised to them. `paths` are the orders' pages, with the
    status in which each has to end."""

    store: CrashStore
    struck: threading.Event
    paths: dict[str, str] = field(default_factory=dict)

    def round(self, scenario: "Scenario") -> None:
        with self.browsing():
            scenario(self)

    @contextlib.contextmanager
    def browsing(self) -> Iterator[None]:
        """With a new browser."""
        self._browser = Browser(base_url=self.store.web.url, patience=60)
        with self._browser.session:
            yield

    # --- at the store's pages ---------------------------------------------------------------------

    def order(self, *, card: str = "pm_card_visa", product: str = "enamel-mug", ends: str = "shipped") -> str:
        """Place an order, and send the same form once more: the same order, or the promise is broken."""
        form, data = self.fill(card=card, product=product)
        places = {self.sent(form, data), self.sent(form, data)}
        assert len(places) == 1, f"one checkout became {places}"
        (path,) = places
        self.paths[path] = ends
        return path

    def fill(self, *, card: str = "pm_card_visa", product: str = "enamel-mug") -> tuple[Form, dict[str, str]]:
        """Put it into the cart and fill the checkout's form, not sent yet."""
        self._browser.url = self.store.web.url
        put = self._browser.get(f"/products/{product}/").form_with("quantity")
        assert put is not None
        self._browser.send(put, {"quantity": "1"})
        form = self._browser.get("/checkout/").form_with("checkout_token")
        assert form is not None
        return form, form.filled({**ANSWERS, "payment_method": card})

    def post(self, form: Form, data: Mapping[str, str]) -> requests.Response:
        """Once, and whatever the answer is."""
        return self._browser.post(form, data)

    def sent(self, form: Form, data: Mapping[str, str]) -> str:
        """Sent until it is answered; the order's address."""
        answer = self._browser.patiently(lambda *, again: self._browser.post(form, data))
        assert answer.is_redirect, Page.read(answer.text).alerts
        return urlsplit(urljoin(self._browser.url, answer.headers["Location"])).path

    def cancel(self, path: str) -> None:
        page = self._browser.get(path)
        form = next(each for each in page.forms if each.choices("action") == ["cancel"])
        self._browser.send(form, {"action": "cancel"})
        self.paths[path] = "cancelled"

    def give_card(self, path: str) -> None:
        form = self._browser.get(path).form_with("payment_method")
        assert form is not None
        self._browser.send(form, {"payment_method": "pm_card_visa"})

    def confirm_at_bank(self, path: str) -> None:
        """At the bank's page, which sends the customer back."""
        link = next(link for link in self._browser.get(path).links if "/3ds/" in link)
        form = self._browser.get(link).form_with("outcome")
        assert form is not None
        back = self._browser.post(form, {"outcome": "approve"}).headers["Location"]
        self._browser.patiently(lambda *, again: self._browser.session.get(back, timeout=TIMEOUT))

    # --- what is waited for -----------------------------------------------------------------------

    def status(self, path: str) -> str:
        return str(self.store.sql("SELECT status FROM shop_order WHERE token = %s", path.split("/")[2])[0][0])

    def wait(self, path: str, *statuses: str) -> None:
        def is_there() -> bool:
            self.store.end_leases()
            return self.status(path) in statuses

        # After a host has vanished, others go on within its session's time-outs.
        self.store.wait_until(is_there, f"{path} is never {statuses}", seconds=120)

    def wait_with_warehouse(self, path: str, *statuses: str) -> None:
        def is_there() -> bool:
            self.store.turn_warehouse()
            self.store.end_leases()
            return self.status(path) in statuses

        self.store.wait_until(is_there, f"{path} is never {statuses}", seconds=120)

    def wait_for_warehouse(self, path: str) -> None:
        """Until the warehouse has reported anything about the order."""
        query = "SELECT 1 FROM shop_shipment s JOIN shop_order o ON o.id = s.order_id WHERE o.token = %s"

        def has_reported() -> bool:
            self.store.turn_warehouse()
            self.store.end_leases()
            return bool(self.store.sql(query, path.split("/")[2]))

        self.store.wait_until(has_reported, f"the warehouse never reports about {path}", seconds=120)

    def wait_for_dispute(self, path: str, status: str) -> str:
        """Until the store has read that the order's dispute has this status; the dispute's id at the bank."""
        query = (
            "SELECT dispute_id FROM payments_dispute d JOIN payments_payment p ON p.id = payment_id "
            "JOIN shop_order o ON o.id = p.order_id WHERE o.token = %s AND d.status = %s"
        )
        found: list[tuple[str]] = []

        def is_read() -> bool:
            self.store.end_leases()
            found[:] = self.store.sql(query, path.split("/")[2], status)
            return bool(found)

        self.store.wait_until(is_read, f"the dispute of {path} is never {status}", seconds=120)
        return found[0][0]

    # --- an operator ------------------------------------------------------------------------------

    def refund(self, path: str) -> None:
        """An operator gives a euro back, and sends the form until it is answered."""
        ((order_id,),) = self.store.sql("SELECT id FROM shop_order WHERE token = %s", path.split("/")[2])
        payment = Payment.objects.get(order_id=order_id)
        olga = Operator(OPERATOR)
        form = olga.form(payment, "refund").filled({"reason": "a scratch", "amount": "1.00"})
        cookies = {name: morsel.value for name, morsel in olga.client.cookies.items()}
        connection.close()

        def send(*, again: bool) -> requests.Response:
            return requests.post(
                self.store.web.url + address(payment, "refund"),
                form,
                cookies=cookies,
                headers={"Referer": self.store.web.url},
                timeout=TIMEOUT,
                allow_redirects=False,
            )

        answer = self._browser.patiently(send)
        assert answer.status_code == 302, Page.read(answer.text).alerts


Scenario = Callable[[Visit], None]


def plain(visit: Visit) -> None:
    visit.wait(visit.order(), "accepted", "shipped")


def shipped(visit: Visit) -> None:
    path = visit.order()
    visit.wait_with_warehouse(path, "shipped")


def another_card(visit: Visit) -> None:
    path = visit.order(card=DECLINED)
    visit.wait(path, "payment_declined")
    visit.give_card(path)
    visit.wait(path, "accepted", "shipped")


def confirmed(visit: Visit) -> None:
    path = visit.order(card=THREE_D_SECURE)
    visit.wait(path, "action_required")
    visit.confirm_at_bank(path)
    visit.wait(path, "accepted", "shipped")


def cancelled_unpaid(visit: Visit) -> None:
    path = visit.order(card=THREE_D_SECURE)
    visit.wait(path, "action_required")
    visit.cancel(path)
    visit.wait(path, "cancelled")


def cancelled_paid(visit: Visit) -> None:
    with visit.store.warehouse_closed():  # or it might be faster
        path = visit.order()
        visit.wait(path, "accepted")
        visit.cancel(path)
    visit.wait_with_warehouse(path, "cancelled")


def screened(visit: Visit) -> None:
    visit.wait(visit.order(product=LARGE), "accepted", "shipped")


def refunded(visit: Visit) -> None:
    path = visit.order()
    visit.wait(path, "accepted", "shipped")
    visit.refund(path)


def disputed(visit: Visit) -> None:
    """The customer's bank fetches the money back; the store answers, and keeps it."""
    path = visit.order(card=DISPUTED)
    dispute = visit.wait_for_dispute(path, "open")
    visit.wait_for_warehouse(path)  # it has sent the goods, or keeps them back
    visit.store.sandbox.control("POST", f"disputes/{dispute}/close", {"result": "won"})
    visit.wait_for_dispute(path, "closed")
    visit.wait_with_warehouse(path, "shipped")


# A product that is dear enough to be screened.
LARGE = "field-binoculars"

# The way to each point of outbox.crash_points.POINTS.
SCENARIOS: dict[str, Scenario] = {
    **dict.fromkeys(("O1", "O2", "O3"), plain),
    "K1": another_card,
    **dict.fromkeys(("P1", "P2", "P3", "P4", "P5", "P6", "P7"), plain),
    **dict.fromkeys(("R1", "R2", "D1", "D2", "D3"), plain),
    **dict.fromkeys(("E1", "E2", "E3", "E4"), plain),
    "C1": cancelled_unpaid,
    **dict.fromkeys(("C2", "C3", "C4", "C5"), cancelled_paid),
    **dict.fromkeys(("X1", "X2", "X3"), cancelled_unpaid),
    **dict.fromkeys(("G1", "G2", "G3"), disputed),
    "B1": confirmed,
    **dict.fromkeys(("S1", "S2", "S3"), screened),
    **dict.fromkeys(("W1", "W2", "W3"), plain),
    **dict.fromkeys(("F1", "F2", "F3"), shipped),
    **dict.fromkeys(("A1", "A2"), refunded),
}
# Where a point is passed again and again with nothing to do: SQL that says whether there is something.
MATTERS = {"R1": "SELECT EXISTS (SELECT FROM outbox_outboxrecord)"}


def drive(visit: Visit, scenario: Scenario, *, rounds: int = ROUNDS) -> None:
    """Rounds until the point was hit; what runs then is seen through."""
    try:
        for _ in itertools.takewhile(lambda _: not visit.struck.is_set(), range(rounds)):
            visit.round(scenario)
    finally:
        connection.close()
