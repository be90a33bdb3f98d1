"""Mail: what SendGrid accepts, refuses and lets one look up."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from python_http_client.exceptions import BadRequestsError, UnauthorizedError
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import CustomArg, Mail

from tests.sandbox.clients import SETTLE_SECONDS, eventually, mail_client, new_key
from tests.sandbox.mails import a_mail
from tests.sandbox_process import SandboxProcess


def found(mail: SendGridAPIClient, query: str, *, limit: int = 10) -> list[dict[str, Any]]:
    answer = mail.client.messages.get(query_params={"query": query, "limit": limit})
    messages: list[dict[str, Any]] = json.loads(answer.body)["messages"]
    return messages


def test_a_mail_is_accepted_kept_and_delivered(mail: SendGridAPIClient, world: SandboxProcess) -> None:
    email = f"{new_key()}@example.com"
    message = Mail("store@example.com", email, "Hello", "Plain", "<p>HTML</p>")
    message.custom_arg = [CustomArg("message", "5"), CustomArg("order", "7")]
    answer = mail.send(message)
    assert (answer.status_code, answer.body) == (202, b"")
    listed = found(mail, f'to_email="{email}"')
    assert len(listed) == 1
    assert listed[0]["msg_id"].startswith(answer.headers["X-Message-Id"])
    assert listed[0]["custom_args"] == {"message": "5", "order": "7"}
    eventually(lambda: found(mail, f'to_email="{email}" AND status="delivered"'), what=f"{SETTLE_SECONDS} s")
    line = next(line for line in world.ledger(book="mail") if email in str(line.get("messages")))
    assert line["mail"]["content"][0]["value"] == "Plain"


def test_every_recipient_has_a_message(mail: SendGridAPIClient) -> None:
    mark = new_key()
    body = a_mail(
        personalizations=[
            {
                "to": [{"email": f"a-{mark}@example.com"}],
                "cc": [{"email": f"b-{mark}@example.com"}],
                "bcc": [{"email": f"c-{mark}@example.com"}],
                "subject": f"Only for you {mark}",
            },
            {"to": [{"email": f"d-{mark}@example.com"}], "custom_args": {"order": mark}},
        ]
    )
    mail.client.mail.send.post(request_body=body)
    assert {message["to_email"][0] for message in found(mail, f'subject="Only for you {mark}"')} == set("abc")
    (fourth,) = found(mail, f"unique_args['order']=\"{mark}\"")
    assert fourth["subject"] == "Your order is confirmed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        (
            {"personalizations": [{"to": [{"email": "a@b.c"}], "cc": [{"email": "A@b.c"}]}]},
            "personalizations.0",
        ),
        (
            {"personalizations": [{"to": [{"email": "a@b.c"}], "custom_args": {"order": 7}}]},
            "personalizations.0.custom_args",
        ),
        ({"from": None}, "from"),
        ({"from": {"email": "x y"}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        (
            {"content": [{"type": "text/html", "value": "<p>"}, {"type": "text/plain", "value": "x"}]},
            "content",
        ),
        ({"custom_args": {"big": "x" * 10_001}}, "custom_args"),
        ({"headers": {"Subject": "sneaky"}}, "headers.Subject"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"attachments": [{"content": "***", "filename": "a.txt"}]}, "attachments.0.content"),
        ({"send_at": 99_999_999_999}, "send_at"),
        ({"reply_to": {"email": "nobody"}}, "reply_to.email"),
    ],
)
def test_what_is_refused(mail: SendGridAPIClient, change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequestsError) as refused:
        mail.client.mail.send.post(request_body=a_mail(**change))
    errors = json.loads(refused.value.body)["errors"]
    assert field in [error["field"] for error in errors]
    assert all(error["message"] for error in errors)


def test_what_is_not_json_or_no_object_is_refused(world: SandboxProcess) -> None:
    headers = {"Authorization": "Bearer SG.x", "Content-Type": "application/json"}
    for body in ("{", "[]", "null"):
        assert requests.post(f"{world.url}/v3/mail/send", data=body, headers=headers, timeout=5).status_code == 400
    form = requests.post(
        f"{world.url}/v3/mail/send", data={"a": "b"}, headers={"Authorization": "Bearer SG.x"}, timeout=5
    )
    assert form.status_code == 415


def test_keys(world: SandboxProcess) -> None:
    with pytest.raises(UnauthorizedError) as refused:
        mail_client(world, key="nonsense").client.mail.send.post(request_body=a_mail())
    assert json.loads(refused.value.body)["errors"][0]["message"].startswith("The provided authorization grant")
    scopes = json.loads(mail_client(world).client.scopes.get().body)["scopes"]
    assert "mail.send" in scopes


def test_a_template_needs_neither_subject_nor_content(mail: SendGridAPIClient) -> None:
    email = f"{new_key()}@example.com"
    person = {"to": [{"email": email}], "dynamic_template_data": {"order": "7"}}
    body = {"personalizations": [person], "from": {"email": "store@example.com"}, "template_id": "d-123"}
    assert mail.client.mail.send.post(request_body=body).status_code == 202
    assert found(mail, f'to_email="{email}"')[0]["template_id"] == "d-123"


def test_sendgrids_own_sandbox_mode_sends_nothing(mail: SendGridAPIClient) -> None:
    email = f"{new_key()}@example.com"
    body = a_mail(to=email, mail_settings={"sandbox_mode": {"enable": True}})
    assert mail.client.mail.send.post(request_body=body).status_code == 200
    assert found(mail, f'to_email="{email}"') == []


def test_queries_that_are_not_understood(mail: SendGridAPIClient) -> None:
    with pytest.raises(BadRequestsError):
        found(mail, "colour=red")
    with pytest.raises(BadRequestsError):
        found(mail, "", limit=1001)


def test_a_period_of_time(mail: SendGridAPIClient) -> None:
    email = f"{new_key()}@example.com"
    mail.client.mail.send.post(request_body=a_mail(to=email))
    period = 'last_event_time BETWEEN TIMESTAMP "{}" AND TIMESTAMP "{}"'
    assert found(mail, f'to_email="{email}" AND ' + period.format("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"))
    assert not found(mail, f'to_email="{email}" AND ' + period.format("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"))


def test_attachments_are_accepted(mail: SendGridAPIClient) -> None:
    attachment = {"content": base64.b64encode(b"receipt").decode(), "filename": "receipt.txt", "type": "text/plain"}
    assert mail.client.mail.send.post(request_body=a_mail(attachments=[attachment])).status_code == 202
