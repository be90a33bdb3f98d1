"""A person's browser: a session with cookies, the page it is on, and patience with a site that has trouble."""

import random
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import ClassVar, Protocol
from urllib.parse import urljoin

import requests

from shop.simulation.pages import Form, Page

# Seconds to connect, and between two bytes: a page that takes longer makes people press the button again.
TIMEOUT = (5.0, 30.0)
# Seconds between two tries of a person whose page did not come.
LONGEST_PAUSE = 2.0


class Unanswered(Exception):
    """The site did not answer within the person's patience."""


class Refused(Exception):
    """The site answered, and not with what a person needs."""


class Ask(Protocol):
    """One try; `again` says that it is not the first."""

    def __call__(self, *, again: bool) -> requests.Response: ...


class Browser:
    """`patience` in seconds for one page. `retries` counts pages that had to be asked for again."""

    # The site's own trouble, over which people try again; with any other answer they have one.
    TROUBLE: ClassVar[Collection[int]] = range(500, 600)

    def __init__(self, *, base_url: str, patience: float) -> None:
        self.session = requests.Session()
        self.retries = 0
        self.url = base_url  # of the page that is shown
        self._patience = patience

    def address(self, path: str) -> str:
        return urljoin(self.url, path)

    def get(self, path: str) -> Page:
        """The page, which is shown from now on. Raises Refused, Unanswered."""
        return Page.read(self._get(path, {}).text)

    def look_again(self, path: str, shown: Page) -> Page:
        """The page as it is now: `shown` itself where nothing has changed. Asks as the page's own script does."""
        answer = self._get(path, {"If-None-Match": shown.etag})
        return shown if answer.status_code == HTTPStatus.NOT_MODIFIED else Page.read(answer.text)

    def _get(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        def ask(*, again: bool) -> requests.Response:
            return self.session.get(self.address(path), headers=headers, timeout=TIMEOUT)

        answer = self.patiently(ask)
        if not answer.ok:
            raise Refused(f"HTTP {answer.status_code} for {path}")
        self.url = answer.url
        return answer

    def send(self, form: Form, answers: Mapping[str, str]) -> requests.Response:
        """Fill and send a form until there is an answer; for forms that may be sent twice. Raises Unanswered."""
        data = form.filled(answers)
        return self.patiently(lambda *, again: self.post(form, data))

    def post(self, form: Form, data: Mapping[str, str]) -> requests.Response:
        """One try. Over HTTPS, Django's protection against forged requests wants the Referer that browsers send."""
        return self.session.post(
            self.address(form.action),
            data=data,
            headers={"Referer": self.url},
            timeout=TIMEOUT,
            allow_redirects=False,
        )

    def patiently(self, ask: Ask) -> requests.Response:
        """Ask until there is an answer that is not the site's own trouble. Raises Unanswered."""
        deadline = time.monotonic() + self._patience
        again = False
        while True:
            try:
                answer = ask(again=again)
                if answer.status_code not in self.TROUBLE:
                    return answer
                trouble = f"HTTP {answer.status_code}"
            except requests.RequestException as error:
                trouble = type(error).__name__
            if time.monotonic() > deadline:
                raise Unanswered(f"{trouble} for {self._patience:.0f} s")
            again = True
            self.retries += 1
            # Not from the person's dice: how often a page fails must not change what is bought.
            time.sleep(random.uniform(0.2, 1.0) * LONGEST_PAUSE)  # noqa: S311 - no secret
