"""The bank in a shopper's browser: the card's fields inside a strict store's page, and the 3-D Secure page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe
from playwright.sync_api import FrameLocator, Page, expect
from sendgrid import SendGridAPIClient

from tests.sandbox.clients import confirmed, created, new_key
from tests.sandbox.mails import a_mail
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.browser

CHECKOUT = """<!doctype html><html lang="en"><title>Checkout</title>
<script src="{bank}/js/v3/" defer></script><script src="/checkout.js" defer></script>
<form id="pay"><div id="card"></div><output id="state"></output><button>Pay</button><output id="result"></output></form>
"""
SCRIPT = """
const stripe = Stripe("pk_test_browser");
const card = stripe.elements().create("card");
card.on("ready", () => { document.getElementById("state").value = "ready"; });
card.on("change", (event) => {
  const told = event.error ? event.error.message : event.complete ? "complete" : "incomplete";
  document.getElementById("state").value = told;
});
card.mount("#card");
document.getElementById("pay").addEventListener("submit", async (event) => {
  event.preventDefault();
  const billing = { name: "A Shopper", email: "shopper@example.com", address: { city: "Bern" } };
  const { paymentMethod, error } = await stripe.createPaymentMethod({ type: "card", card, billing_details: billing });
  document.getElementById("result").value = error ? error.message : JSON.stringify(paymentMethod);
});
"""


@pytest.fixture(scope="module")
def store(running: SandboxProcess) -> Iterator[str]:
    """A store of another origin with a strict Content-Security-Policy; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/checkout.js"
            body = (SCRIPT if script else CHECKOUT.format(bank=running.url)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header(
                "Content-Security-Policy",
                f"default-src 'none'; script-src 'self' {running.url}; frame-src {running.url}; base-uri 'none'",
            )
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def card_fields(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title='Secure card payment input frame']")


def method_on(page: Page) -> str:
    result = page.locator("#result")
    expect(result).to_contain_text("pm_")
    return result.inner_text()


def test_a_test_card_becomes_a_payment_method(
    page: Page, store: str, bank: stripe.StripeClient, world: SandboxProcess, problems: list[str]
) -> None:
    page.goto(store)
    expect(page.locator("#state")).to_have_text("ready")
    card_fields(page).get_by_role("button", name="succeeds", exact=True).click()
    expect(page.locator("#state")).to_have_text("complete")
    page.get_by_role("button", name="Pay").click()
    answer = method_on(page)
    method = bank.v1.payment_methods.retrieve(answer.split('"')[3])
    assert answer == f'{{"id":"{method.id}"}}'  # nothing else reaches the store's page
    assert method.billing_details.email == "shopper@example.com"
    assert method.billing_details.address is not None
    assert method.billing_details.address.city == "Bern"
    assert confirmed(bank, created(bank).id, method.id).status == "succeeded"


def test_a_card_is_typed(page: Page, store: str, bank: stripe.StripeClient, problems: list[str]) -> None:
    page.goto(store)
    fields = card_fields(page)
    fields.get_by_label("Card number").press_sequentially("4000000000000002")
    expect(fields.get_by_label("Card number")).to_have_value("4000 0000 0000 0002")
    expect(page.locator("#state")).to_have_text("incomplete")
    fields.get_by_label("Expiry").press_sequentially("1240")
    expect(fields.get_by_label("Expiry")).to_have_value("12 / 40")
    fields.get_by_label("Security code").press_sequentially("123")
    expect(page.locator("#state")).to_have_text("complete")
    page.get_by_role("button", name="Pay").click()
    method = method_on(page).split('"')[3]
    with pytest.raises(stripe.CardError):
        confirmed(bank, created(bank).id, method)


def test_a_wrong_number_is_said_in_place(page: Page, store: str, problems: list[str]) -> None:
    page.goto(store)
    fields = card_fields(page)
    fields.get_by_label("Card number").fill("4242424242424241")
    expect(fields.get_by_role("alert")).to_have_text("Your card number is invalid.")
    expect(page.locator("#state")).to_have_text("Your card number is invalid.")
    fields.get_by_label("Card number").fill("4242424242424242")
    expect(fields.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Pay").click()
    expect(page.locator("#result")).to_contain_text("exp_month")
    assert len(problems) == 1  # the browser reports the bank's 400
    problems.clear()


@pytest.mark.parametrize(("button", "status"), [("Approve", "succeeded"), ("Reject", "requires_payment_method")])
def test_the_card_holder_answers_and_returns(
    page: Page, store: str, bank: stripe.StripeClient, problems: list[str], button: str, status: str
) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired", return_url=f"{store}/back")
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page.goto(str(intent.next_action.redirect_to_url.url))
    page.get_by_role("button", name=button).click()
    page.wait_for_url(f"{store}/back?payment_intent={intent.id}*")
    assert bank.v1.payment_intents.retrieve(intent.id).status == status


def test_who_walks_away_leaves_the_payment_waiting(page: Page, bank: stripe.StripeClient, problems: list[str]) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page.goto(str(intent.next_action.redirect_to_url.url))
    page.get_by_role("link", name="Walk away").click()
    expect(page.get_by_role("heading", name="The outside world")).to_be_visible()
    assert bank.v1.payment_intents.retrieve(intent.id).status == "requires_action"


def test_faults_are_set_by_hand(page: Page, world: SandboxProcess, problems: list[str]) -> None:
    page.goto(f"{world.url}/faults/")
    page.get_by_label("Operation").select_option("payment_intents.confirm")
    page.get_by_label("Kind").select_option("drop_after")
    page.get_by_label("Times").fill("1")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("cell", name="0 of 1")).to_be_visible()
    assert [rule["kind"] for rule in world.faults()] == ["drop_after"]
    page.get_by_role("button", name="Clear all").click()
    expect(page.get_by_text("Nothing fails.")).to_be_visible()
    assert world.faults() == []


def test_a_mail_is_read_but_does_nothing(
    page: Page, mail: SendGridAPIClient, world: SandboxProcess, problems: list[str]
) -> None:
    html = (
        '<p style="color: green">Hello</p><script>document.title = "run"</script>'
        '<a href="http://127.0.0.1:9/">Order</a>'
    )
    content = [{"type": "text/plain", "value": "Hello in plain"}, {"type": "text/html", "value": html}]
    email = f"{new_key()}@example.com"
    mail.client.mail.send.post(request_body=a_mail(to=email, content=content))
    page.goto(f"{world.url}/mailbox/?to={email}")
    page.get_by_role("link", name="Your order is confirmed").click()
    shown = page.frame_locator("iframe[title='The message as HTML']")
    expect(shown.get_by_text("Hello")).to_have_css("color", "rgb(0, 128, 0)")
    expect(shown.get_by_role("link", name="Order")).to_be_visible()
    page.get_by_role("link", name="Plain text").click()
    expect(page.get_by_text("Hello in plain")).to_be_visible()
    assert len(problems) == 1  # the browser reports the script that it did not run
    assert "sandboxed" in problems[0]
    problems.clear()
