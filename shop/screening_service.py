"""The screening service over HTTP: one question for each order, asked under our own reference.

`POST <SCREENING_URL>/v1/checks` with a Bearer key and the JSON of `question` answers {"id", "reference", "result"},
the result `passed` or `failed`. Asked again under the same reference it answers the same.
"""

import hashlib
import json
import uuid
from typing import Annotated, Any, Literal

import msgspec
import requests
from django.conf import settings

from outbox.crash_points import calling
from outbox.transport import DeadlineSession, never_sent, retry_after
from shop.models import Order
from shop.screening import Answer, Outcome

Question = dict[str, Any]

# Seconds to make a connection to one address of the service; nothing has been sent until then.
_CONNECT_TIMEOUT = 5.0
# Characters of the service's words that are kept.
_DETAIL_LENGTH = 500


class _Check(msgspec.Struct, frozen=True):
    """The service's answer; whatever else it says is not needed."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[\w-]{1,255}\Z")]
    reference: uuid.UUID
    result: Literal["passed", "failed"]


def question(order: Order, *, reference: uuid.UUID) -> Question:
    """All that leaves the store: no name, no street, and of the e-mail address only its SHA-256 in lower case.
    `amount` in minor units."""
    return {
        "reference": str(reference),
        "country": order.country,
        "postal_code": order.postal_code,
        "amount": order.total,
        "currency": order.currency,
        "email_sha256": hashlib.sha256(order.email.strip().lower().encode()).hexdigest(),
    }


class ScreeningService:
    """One client for any number of threads. `timeout` in seconds bounds a whole call."""

    def __init__(self, *, url: str, api_key: str, timeout: float, connections: int) -> None:
        self._url = f"{url}/v1/checks"
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._timeout = timeout
        self._session = DeadlineSession(deadline=timeout, connections=connections)

    def check(self, asked: Question) -> Answer:
        """Ask; never raises for what the service or the network does."""
        try:
            with calling("S1"):
                response = self._session.post(
                    self._url,
                    data=json.dumps(asked).encode(),
                    headers=self._headers,
                    timeout=(min(_CONNECT_TIMEOUT, self._timeout), self._timeout),
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            outcome = Outcome.NOT_SENT if never_sent(error) else Outcome.UNKNOWN
            return Answer(outcome=outcome, detail=str(error)[:_DETAIL_LENGTH])
        return _read(response, reference=uuid.UUID(asked["reference"]))


def make(*, connections: int) -> ScreeningService:
    """The service of the settings."""
    return ScreeningService(
        url=settings.SCREENING_URL,
        api_key=settings.SCREENING_API_KEY,
        timeout=settings.SCREENING_TIMEOUT,
        connections=connections,
    )


def _read(response: requests.Response, *, reference: uuid.UUID) -> Answer:
    # A NUL is nothing that PostgreSQL could keep.
    words = f"HTTP {response.status_code}: {response.text}".replace("\0", "")[:_DETAIL_LENGTH]
    match response.status_code:
        case 200:
            try:
                check = msgspec.json.decode(response.content, type=_Check)
            except msgspec.DecodeError as error:
                return Answer(outcome=Outcome.UNKNOWN, detail=f"{error}, {words}")
            if check.reference != reference:
                return Answer(outcome=Outcome.UNKNOWN, detail=f"an answer to another question, {words}")
            return Answer(outcome=Outcome.ANSWERED, result=check.result, check_id=check.id, detail=words)
        case 401 | 403 | 404 | 405 | 409 | 429:
            # Our key or address is wrong, or it is busy with us: it has not looked at the question.
            later = retry_after(response.headers.get("Retry-After"))
            return Answer(outcome=Outcome.NOT_SENT, detail=words, retry_after=later)
        case 408:
            return Answer(outcome=Outcome.UNKNOWN, detail=words)
    refused = 400 <= response.status_code < 500
    return Answer(outcome=Outcome.REFUSED if refused else Outcome.UNKNOWN, detail=words)
