"""The admin as a person at a browser meets it: lists, a row's page, an operation's form, and what came of it."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from urllib.parse import urljoin, urlsplit

import requests

from shop.simulation.browser import Browser
from shop.simulation.pages import Form, Page

LOGIN = "/admin/login/"
OPERATIONS = "/admin/operations/"


class Outcome(StrEnum):
    DONE = "done"
    REPEATED = "repeated"  # this form had been carried out before
    OVERTAKEN = "overtaken"  # something had changed since the person looked
    REFUSED = "refused"  # it may not be done now, and the page says why
    SENT_BACK = "sent back"  # the form was not filled as it asks
    GONE = "gone"  # somebody had dealt with the row
    UNTOLD = "untold"  # the page that said what was done did not arrive, and said it only once


class Broken(Exception):
    """The admin did what it must never do to an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"  # no traceback shows the password


class AdminBrowser(Browser):
    """Only an honest 503 is tried again; another error is one."""

    TROUBLE: ClassVar = frozenset({503})

    def visit(self, path: str) -> Page:
        """As `get`. Raises Broken where the admin no longer knows who is there; Refused, Unanswered."""
        page = self.get(path)
        if urlsplit(self.url).path == LOGIN:
            raise Broken(f"logged out in the middle, at {path}")
        return page

    def log_in(self, login: Login) -> None:
        """Raises Broken where the admin does not take the password; Refused, Unanswered."""
        form = self.get(f"{LOGIN}?next=/admin/").form_with("password")
        if form is None:
            raise Broken("the page for logging in has no form")
        answer = self.send(form, {"username": login.name, "password": login.password})
        if not answer.is_redirect:
            raise Broken(f"{login.name} cannot log in: HTTP {answer.status_code} {_alerts(answer)}")
        self.url = urljoin(self.url, "/admin/")

    def twin(self) -> "AdminBrowser":
        """The same person's second tab, as it is now."""
        twin = AdminBrowser(base_url=self.url, patience=self._patience)
        twin.session.cookies.update(self.session.cookies)
        return twin


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """An operation's page as it was read, with its one-use form."""

    url: str
    form: Form

    @property
    def token(self) -> str:
        return self.form.filled({})["token"]

    @property
    def operation(self) -> str:
        return operation_at(self.url)


def operation_at(url: str) -> str:
    """What an operation's address is about, such as `payment refund`."""
    label, _, name = urlsplit(url).path.removeprefix(OPERATIONS).strip("/").split("/")
    return f"{label.partition('.')[2]} {name}"


def rows_of(page: Page, folder: str) -> list[str]:
    """The rows' pages that a list leads to."""
    pattern = re.compile(rf"{re.escape(folder)}[^/]+/change/")
    return list(dict.fromkeys(found[0] for link in page.links if (found := pattern.match(link))))


def offers_of(page: Page, *, row: str = "") -> list[str]:
    """The operations that a row's page offers now: all, or those of the row with this key (`payments.refund/7`)."""
    return list(dict.fromkeys(link for link in page.links if link.startswith(f"{OPERATIONS}{row}")))


def open_confirmation(browser: AdminBrowser, offer: str) -> Confirmation | Outcome:
    """The offered operation's page; an outcome where it is not to be done any more. Raises Broken, Refused (a 403
    among them, as it was offered), Unanswered."""
    page = browser.visit(offer)
    form = page.form_with("token")
    if form is not None:
        return Confirmation(url=browser.url, form=form)
    if any(level == "warning" for level, _ in page.messages):
        return Outcome.GONE
    if page.alerts:
        return Outcome.REFUSED
    raise Broken(f"{offer} shows neither a form nor a reason")


def send(browser: AdminBrowser, confirmation: Confirmation, answers: Mapping[str, str]) -> Outcome:
    """Send the form until it is answered, always the same, so that it is one decision. Raises Broken, Refused,
    Unanswered."""
    browser.url = confirmation.url
    answer = browser.send(confirmation.form, answers)
    match answer.status_code:
        case 302:
            return _outcome_after(browser, answer.headers["Location"])
        case 409:
            return Outcome.OVERTAKEN if "something has changed" in _alerts(answer) else Outcome.REFUSED
        case 422:
            return Outcome.SENT_BACK
    raise Broken(f"HTTP {answer.status_code} for {confirmation.operation}")


def send_twice(browser: AdminBrowser, confirmation: Confirmation, answers: Mapping[str, str]) -> list[Outcome]:
    """The same form from two tabs at the same moment. Raises as `send`."""
    tabs = [browser.twin(), browser.twin()]
    with ThreadPoolExecutor(max_workers=len(tabs)) as pool:
        sent = [pool.submit(send, tab, confirmation, answers) for tab in tabs]
        outcomes = [each.result() for each in sent]
    for tab in tabs:
        browser.retries += tab.retries
        tab.session.close()
    return outcomes


def _outcome_after(browser: AdminBrowser, location: str) -> Outcome:
    if urlsplit(location).path == LOGIN:
        raise Broken("logged out in the middle of an operation")
    asked_before = browser.retries
    page = browser.visit(location)
    if not page.messages:
        if browser.retries > asked_before:
            return Outcome.UNTOLD
        raise Broken(f"no word about what was done, at {location}")
    level, text = page.messages[-1]
    match level:
        case "success":
            return Outcome.DONE
        case "info":
            return Outcome.REPEATED
        case "warning":
            return Outcome.GONE
    raise Broken(f"an unknown message ({level}): {text}")


def _alerts(answer: requests.Response) -> str:
    return " ".join(Page.read(answer.text).alerts)
