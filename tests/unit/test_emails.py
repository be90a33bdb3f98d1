"""What mails say, and what becomes of them after a call. No database, no network."""

import datetime as dt
import sys
import unicodedata
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from notifications.catalogue import MAILS
from notifications.emails import Email, render, single_line
from notifications.mailers.base import Outcome
from notifications.mailers.sendgrid import SendGridMailer
from notifications.models import Message
from notifications.policy import EVIDENCE_WITHIN, MAX_TRIES, Doubt, Status, after_call, in_doubt
from notifications.samples import sample

TEMPLATES = sorted({mail.template for mail in MAILS.values()})
# A line break that would begin a header, markup, a family of four in one emoji, and right-to-left text.
HOSTILE = "Ada\r\nBcc: all@example.com <script>alert('x')</script> 👩‍👩‍👧‍👦 עדה"


class Page(HTMLParser):
    """The text that a reader sees, the tags, and where links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self._style = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._style = tag == "style"
        self.links |= {value for name, value in attrs if name in ("href", "src", "background") and value}

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data


def message(email: Email, **fields: Any) -> Message:
    return Message(
        order_id=1042,
        order_number="O-001042",
        template="order_confirmed",
        recipient="ada@example.com",
        subject=email.subject,
        text=email.text,
        html=email.html,
        **fields,
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_mail_is_whole_in_text_and_html(template: str) -> None:
    data = sample(template)
    email = render(template, data)
    page = Page(email.html)
    for part in (email.subject, email.text, page.text):
        assert data["number"] in part
        assert "{" not in part
    assert email.text.startswith("Hello Ada Lovelace,\n")
    assert data["url"] in email.text
    assert page.links == {data["url"]}  # nothing is loaded from anywhere
    assert not page.tags & {"script", "table", "img", "link", "iframe", "form"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_mail_that_lacks_a_value_is_not_made(template: str) -> None:
    data = sample(template)
    del data["name"]
    with pytest.raises(UndefinedError, match="name"):
        render(template, data)


@pytest.mark.parametrize("why", ["sold_out", "asked", "store", "unpaid", "undeliverable"])
@pytest.mark.parametrize("refund", [True, False])
def test_a_cancelled_order_hears_why_and_where_its_money_is(why: str, refund: bool) -> None:
    email = render("order_cancelled", {**sample("order_cancelled"), "why": why, "refund": refund})
    assert ("Wool blanket" in email.text) == (why == "sold_out")
    assert ("not been charged" in email.text) != refund
    assert ("goes back to you" in email.text) == refund


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_hostile_name_arrives_whole_and_harms_nobody(template: str) -> None:
    data = sample(template)
    name = single_line(HOSTILE)
    data |= {"name": name, "address": [name], "missing": [name], "carrier": name, "tracking": name}
    email = render(template, data)
    assert name in email.text
    assert "<script>" not in email.html
    assert name in Page(email.html).text
    assert "script" not in Page(email.html).tags
    assert "\n" not in email.subject


def test_a_single_line_keeps_everything_but_control_characters() -> None:
    assert single_line(HOSTILE) == "Ada Bcc: all@example.com <script>alert('x')</script> 👩‍👩‍👧‍👦 עדה"
    assert single_line("a\u2028b\u2029c\x1b[31m\td\x7f") == "a b c [31m d"
    for each in map(chr, range(sys.maxunicode + 1)):
        is_control = unicodedata.category(each) in ("Cc", "Zl", "Zp")
        assert single_line(f"a{each}b") == ("a b" if is_control or each.isspace() else f"a{each}b")


def mailer(**templates: str) -> SendGridMailer:
    return SendGridMailer(
        api_key="SG.key",
        api_base="http://127.0.0.1:9",
        sender="orders@store.example",
        sender_name="Harbour & Pine",
        templates=templates,
        timeout=1,
        connections=1,
    )


def test_the_request_carries_our_id_and_no_link_is_tracked() -> None:
    row = message(render("order_confirmed", sample("order_confirmed")), recipient_name='Ada "A", Lovelace; x')
    body = mailer().body(row)
    (personalization,) = body["personalizations"]
    assert personalization["to"] == [{"email": "ada@example.com", "name": 'Ada "A", Lovelace; x'}]
    assert personalization["custom_args"] == {"message_id": str(row.public_id), "order": "O-001042"}
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert not body["tracking_settings"]["click_tracking"]["enable"]
    assert "template_id" not in body


def test_a_configured_template_of_the_provider_gets_the_facts() -> None:
    data = sample("order_confirmed")
    row = message(render("order_confirmed", data), data=data)
    body = mailer(order_confirmed="d-17").body(row)
    (personalization,) = body["personalizations"]
    assert body["template_id"] == "d-17"
    assert personalization["dynamic_template_data"] == {**data, "subject": row.subject}
    assert "template_id" not in mailer(order_shipped="d-18").body(row)


@pytest.mark.parametrize(
    ("outcome", "attempts", "status"),
    [
        (Outcome.ACCEPTED, 1, Status.SENT),
        (Outcome.REFUSED, 1, Status.FAILED),
        (Outcome.NOT_SENT, 1, Status.PENDING),
        (Outcome.NOT_SENT, MAX_TRIES - 1, Status.PENDING),
        (Outcome.NOT_SENT, MAX_TRIES, Status.FAILED),
        (Outcome.MISCONFIGURED, MAX_TRIES, Status.PENDING),
        (Outcome.AMBIGUOUS, 1, Status.AMBIGUOUS),
        ("", 1, Status.AMBIGUOUS),
    ],
)
def test_only_what_was_certainly_not_sent_is_tried_again(outcome: str, attempts: int, status: Status) -> None:
    verdict = after_call(outcome, attempts=attempts)
    assert verdict.status == status
    assert (verdict.due_in is None) == (status in Message.FINAL)
    assert not verdict.blocked_reason


def test_a_provider_that_asks_for_time_gets_it() -> None:
    asked = dt.timedelta(minutes=4)
    assert after_call(Outcome.NOT_SENT, attempts=1, retry_after=asked).due_in == asked


def doubt(**known: Any) -> Doubt:
    return Doubt(
        **{"age": EVIDENCE_WITHIN, "calls": 1, "last_outcome": "", "rather_twice": False, "attempts": 2, **known}
    )


def test_a_doubt_waits_a_day_for_evidence_and_then_for_a_person() -> None:
    early = in_doubt(doubt(age=EVIDENCE_WITHIN - dt.timedelta(hours=1)))
    assert (early.status, early.due_in) == (Status.AMBIGUOUS, dt.timedelta(hours=1))
    late = in_doubt(doubt(last_outcome=Outcome.AMBIGUOUS))
    assert (late.status, late.due_in) == (Status.AMBIGUOUS, None)
    assert "confirm or resend" in late.blocked_reason


def test_a_mail_that_is_rather_sent_twice_is_sent_once_more() -> None:
    assert in_doubt(doubt(rather_twice=True)).status == Status.PENDING
    assert in_doubt(doubt(rather_twice=True, age=dt.timedelta(hours=1))).status == Status.AMBIGUOUS
    assert in_doubt(doubt(rather_twice=True, calls=2)).blocked_reason


@pytest.mark.parametrize(
    ("answer", "status"),
    [(Outcome.ACCEPTED, Status.SENT), (Outcome.REFUSED, Status.FAILED), (Outcome.NOT_SENT, Status.PENDING)],
)
def test_a_late_answer_is_evidence(answer: Outcome, status: Status) -> None:
    assert in_doubt(doubt(last_outcome=answer, age=dt.timedelta(0))).status == status
