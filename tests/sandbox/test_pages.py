"""The pages, and who may press what."""

from __future__ import annotations

import re

import pytest
import requests
import stripe
from sendgrid import SendGridAPIClient

from tests.sandbox.clients import RETURN_URL, confirmed, created, eventually, new_key, paid
from tests.sandbox.mails import a_mail
from tests.sandbox_process import SandboxProcess

FOREIGN = {"Origin": "http://evil.example"}


def page(world: SandboxProcess, path: str, *, status: int = 200) -> requests.Response:
    answer = requests.get(world.url + path, timeout=10)
    assert answer.status_code == status
    return answer


def test_no_page_allows_inline_script_or_foreign_content(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    paths = ["/", "/bank/", f"/bank/{intent.id}", "/mailbox/", "/faults/", f"/3ds/{intent.id}", "/elements/card"]
    for path in paths:
        answer = page(world, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        forbidden = r"<script>|<style|\son\w+=|\sstyle=|(?:src|href)=.https?:"
        assert not re.search(forbidden, answer.text.replace(world.url, "")), path


def test_the_bank_shows_what_happened_in_order(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = created(bank, metadata={"order": "<7>"})
    key = new_key()
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            bank.v1.payment_intents.confirm(
                intent.id,
                {"payment_method": "pm_card_visa_chargeDeclined", "return_url": RETURN_URL},
                {"idempotency_key": key},
            )
    confirmed(bank, intent.id, "pm_card_visa")
    bank.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    listed = page(world, "/bank/").text
    assert intent.id in listed
    assert "order: &lt;7&gt;" in listed
    detail = page(world, f"/bank/{intent.id}").text
    operations = re.findall(r"<td>((?:payment_intents|refunds)\.\w+)</td>", detail)
    assert operations == [
        "payment_intents.create",
        "payment_intents.confirm",
        "payment_intents.confirm",
        "payment_intents.confirm",
        "refunds.create",
    ]
    assert "replayed" in detail
    assert "5.00 EUR" in detail
    page(world, "/bank/pi_none", status=404)


def test_a_dispute_is_closed_on_the_page(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = paid(bank, method="pm_card_createDispute")
    dispute = eventually(lambda: bank.v1.disputes.list({"payment_intent": intent.id}).data, what="the dispute")[0]
    address = f"{world.url}/bank/disputes/{dispute.id}/close"
    assert requests.post(address, data={"result": "won"}, headers=FOREIGN, timeout=5).status_code == 403
    assert bank.v1.disputes.retrieve(dispute.id).status == "needs_response"
    rebound = {"Origin": "http://evil.example", "Host": "evil.example"}
    assert requests.post(address, data={"result": "won"}, headers=rebound, timeout=5).status_code == 403
    own = {"Origin": world.url}
    assert requests.post(address, data={"result": "won"}, headers=own, timeout=5).status_code == 200
    assert bank.v1.disputes.retrieve(dispute.id).status == "won"


def test_a_mail_is_shown_without_letting_it_do_anything(mail: SendGridAPIClient, world: SandboxProcess) -> None:
    mark = new_key()
    hostile = f"<h1>{mark}</h1><script>alert(1)</script>"
    content = [{"type": "text/plain", "value": f"plain <{mark}>"}, {"type": "text/html", "value": hostile}]
    mail.client.mail.send.post(request_body=a_mail(to=f"{mark}@example.com", content=content))
    listed = page(world, f"/mailbox/?to={mark}").text
    address = re.findall(r'href="(/mailbox/[^"?]+)"', listed)[0]
    shown = page(world, address).text
    assert "<script" not in shown
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in shown
    framed = page(world, f"{address}/html")
    assert hostile in framed.text
    policy = framed.headers["Content-Security-Policy"]
    assert "; sandbox allow-popups" in policy
    assert "script-src" not in policy
    assert f"plain &lt;{mark}&gt;" in page(world, f"{address}?view=text").text
    page(world, "/mailbox/none", status=404)


def test_faults_are_added_and_cleared_on_the_page(world: SandboxProcess) -> None:
    form = {"op": "refunds.create", "kind": "delay", "times": "2", "seconds": "3", "probability": "1", "match": ""}
    assert requests.post(f"{world.url}/faults/", data=form, headers=FOREIGN, timeout=5).status_code == 403
    assert world.faults() == []
    added = requests.post(f"{world.url}/faults/", data=form, headers={"Origin": world.url}, timeout=5)
    assert "0 of 2" in added.text
    assert world.faults()[0]["seconds"] == 3
    wrong = requests.post(f"{world.url}/faults/", data={**form, "kind": "drop"}, timeout=5)
    assert wrong.status_code == 400
    requests.post(f"{world.url}/faults/{world.faults()[0]['id']}/remove", timeout=5)
    assert world.faults() == []


def test_a_bank_that_is_down_comes_back_through_the_second_door(world: SandboxProcess) -> None:
    form = {"op": "*", "kind": "down", "times": "", "seconds": "1", "probability": "1", "match": ""}
    answer = requests.post(f"{world.url}/faults/", data=form, timeout=5)
    assert "down" in answer.text
    with pytest.raises(requests.ConnectionError):
        requests.get(world.url, timeout=5)
    assert requests.post(f"{world.control_url}/faults/clear", timeout=5).status_code == 200
    page(world, "/")


def test_control_is_closed_to_web_pages(world: SandboxProcess) -> None:
    address = f"{world.url}/_control/faults"
    rule = {"op": "*", "kind": "down"}
    for headers in (FOREIGN, {"Origin": world.url}, {"Host": "evil.example"}):
        assert requests.post(address, json=rule, headers=headers, timeout=5).status_code == 403
        assert requests.get(address, headers=headers, timeout=5).status_code == 403
    assert world.faults() == []


def test_the_3ds_page_takes_no_foreign_answers(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_authenticationRequired")
    asked = page(world, f"/3ds/{intent.id}")
    assert "19.99 EUR" in asked.text
    assert "form-action 'self' http://store.example" in asked.headers["Content-Security-Policy"]
    address = f"{world.url}/3ds/{intent.id}"
    assert requests.post(address, data={"outcome": "approve"}, headers=FOREIGN, timeout=5).status_code == 403
    assert bank.v1.payment_intents.retrieve(intent.id).status == "requires_action"
    requests.post(address, data={"outcome": "approve"}, allow_redirects=False, timeout=5)
    assert "Back to the store" in page(world, f"/3ds/{intent.id}").text
    page(world, "/3ds/pi_none", status=404)


def test_an_unknown_address_of_the_api(world: SandboxProcess) -> None:
    answer = requests.get(f"{world.url}/v1/unicorns", headers={"Authorization": "Bearer sk_test_1"}, timeout=5)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"
