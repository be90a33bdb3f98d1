"""SendGrid behind the Mailer protocol, through the official SDK; the one module that imports it.

The SDK has no time-outs of its own, follows redirects and hides whether a connection was ever made, so its
requests go out through the store's transport: one fresh connection for each mail (a kept-alive one that the other
side has just closed would leave a mail in doubt), no redirects, no retries, and a deadline for the whole call.
"""

import datetime as dt
import json
import logging
import re
import time
import urllib.request
import uuid
from collections.abc import Mapping
from email.message import Message as Headers
from typing import Annotated, Any, cast

import msgspec
import python_http_client
import requests
import sendgrid
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

from notifications.mailers.base import MailNotice, Outcome, Receipt
from notifications.models import Message
from outbox.crash_points import calling
from outbox.going_live import Reply
from outbox.transport import DeadlineSession, never_sent, retry_after
from outbox.webhooks import Malformed, NotConfigured, NotGenuine, check_age

logger = logging.getLogger(__name__)

# Seconds to make a connection to one address of the provider; nothing has been sent until then.
_CONNECT_TIMEOUT = 5.0
# Characters of the provider's words that are kept.
_DETAIL_LENGTH = 1000
# The provider repeats a batch for 24 hours and does not say that it signs it anew each time. An old batch sent again by
# somebody else does no harm: its events are here, or still true.
SIGNED_WITHIN = dt.timedelta(hours=25)


class SendGridMailer:
    """`timeout` in seconds bounds a whole call. `templates` maps our templates to dynamic ones (`d-…`) that the
    provider fills in instead; what we wrote ourselves is sent along and is used if that one is empty."""

    def __init__(
        self,
        *,
        api_key: str,
        api_base: str,
        sender: str,
        sender_name: str,
        templates: Mapping[str, str],
        timeout: float,
        connections: int,
    ) -> None:
        self._sender = {"email": sender, "name": sender_name}
        self._templates = templates
        self._api = sendgrid.SendGridAPIClient(api_key, host=api_base)
        self._api.client = _Client(
            session=DeadlineSession(deadline=timeout, connections=connections),
            host=api_base,
            version=3,
            request_headers=self._api.client.request_headers,
            timeout=timeout,
        )

    def send(self, message: Message) -> Receipt:
        body = self.body(message)
        begun = time.monotonic()
        try:
            with calling("E2"):
                answer = self._api.send(body)
        except requests.RequestException as error:
            outcome = Outcome.NOT_SENT if never_sent(error) else Outcome.AMBIGUOUS
            return Receipt(outcome=outcome, detail=_words(message, str(error)), duration=_since(begun))
        return Receipt(
            outcome=_outcome(answer.status_code),
            provider_id=answer.headers.get("X-Message-Id", "")[:255],
            http_status=answer.status_code,
            detail="" if answer.status_code == 202 else _words(message, _errors(answer.body)),
            retry_after=retry_after(answer.headers.get("Retry-After")),
            duration=_since(begun),
        )

    def ask(self, path: str, **params: str) -> Reply:
        """A plain question about our account, for sendgrid_account.py: it only reads."""
        sent_at, begun = dt.datetime.now(tz=dt.UTC), time.monotonic()
        client = self._api.client
        for step in path.strip("/").split("/"):
            client = client._(step)
        try:
            with calling("B1"):
                answer = client.get(query_params=params or None)
        except requests.RequestException as error:
            return Reply(status=None, problem=str(error)[:_DETAIL_LENGTH], sent_at=sent_at, took=_since(begun))
        problem = "" if answer.status_code == 200 else _errors(answer.body)[:_DETAIL_LENGTH]
        try:
            body = json.loads(answer.body) if not problem else None
        except ValueError:
            body, problem = None, "an answer that is no JSON"
        headers = {name.lower(): value for name, value in answer.headers.items()}
        took = _since(begun)
        return Reply(status=answer.status_code, body=body, problem=problem, headers=headers, sent_at=sent_at, took=took)

    def body(self, message: Message) -> dict[str, Any]:
        """The request (docs.sendgrid.com/api-reference/mail-send). JSON throughout: no header is ever put together
        from strings. Links are not tracked: the order's unguessable address stays with the customer."""
        to = {"email": message.recipient, **({"name": message.recipient_name} if message.recipient_name else {})}
        personalization: dict[str, Any] = {
            "to": [to],
            "custom_args": {"message_id": str(message.public_id), "order": message.order_number},
        }
        body: dict[str, Any] = {
            "personalizations": [personalization],
            "from": self._sender,
            "subject": message.subject,
            "content": [
                {"type": "text/plain", "value": message.text},
                {"type": "text/html", "value": message.html},
            ],
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            },
        }
        if template := self._templates.get(message.template):
            body["template_id"] = template
            personalization["dynamic_template_data"] = {**message.data, "subject": message.subject}
        return body


class _Client(python_http_client.Client):  # type: ignore[misc]  # the SDK is untyped
    """The SDK's HTTP client on our transport. Every status is an answer; only the network raises
    (requests.RequestException)."""

    def __init__(self, *, session: requests.Session, **options: Any) -> None:
        super().__init__(**options)
        self._session = session

    def _build_client(self, name: str | None = None) -> "_Client":
        """One more step of the address: the SDK spells `/mail/send` as attributes, each a client."""
        return _Client(
            session=self._session,
            host=self.host,
            version=self._version,
            request_headers=self.request_headers,
            url_path=[*self._url_path, name] if name else self._url_path,
            timeout=self.timeout,
        )

    def _make_request(self, opener: object, request: urllib.request.Request, timeout: float | None = None) -> "_Answer":
        response = self._session.request(
            request.get_method(),
            request.full_url,
            data=cast(bytes, request.data),  # the SDK's JSON
            headers={**dict(request.header_items()), "Connection": "close"},
            timeout=(min(_CONNECT_TIMEOUT, self.timeout), self.timeout),
            allow_redirects=False,
        )
        return _Answer(response)


class _Answer:
    """A response as the SDK wants to read it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def getcode(self) -> int:
        return self._response.status_code

    def read(self) -> bytes:
        return self._response.content

    def info(self) -> Headers:
        headers = Headers()
        for name, value in self._response.headers.items():
            headers[name] = value
        return headers


def public_key_problem(public_key: str) -> str:
    """Why the text is no public key of a signed event webhook; empty when it is one."""
    try:
        EventWebhook(public_key)
    except ValueError as error:
        return str(error)
    return ""


def read_webhook(body: bytes, headers: Mapping[str, str], *, public_key: str) -> list[MailNotice]:
    """The notices in a signed batch of events (docs.sendgrid.com, Event Webhook) that carry a message id of ours.

    One that cannot be read keeps nobody from hearing the others. Raises NotConfigured, NotGenuine, Malformed.
    """
    try:
        checker = EventWebhook(public_key)
    except ValueError as error:
        raise NotConfigured(f"SENDGRID_WEBHOOK_PUBLIC_KEY is no public key: {error}") from error
    timestamp = headers.get(EventWebhookHeader.TIMESTAMP, "")
    try:
        genuine = checker.verify_signature(body.decode(), headers.get(EventWebhookHeader.SIGNATURE, ""), timestamp)
    except ValueError:  # no text, no base64
        genuine = False
    if not genuine or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise NotGenuine("SENDGRID_WEBHOOK_PUBLIC_KEY does not verify its signature")
    check_age(int(timestamp), within=SIGNED_WITHIN)
    try:
        events = json.loads(body)  # where msgspec refuses the whole for half of a surrogate pair in one reason
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no list of events: {error}") from error
    if not isinstance(events, list):
        raise Malformed("no list of events")
    return [notice for event in events if (notice := _notice(event)) is not None]


class _Event(msgspec.Struct, frozen=True):
    """Our custom arguments stand beside the event's own fields, and so do those of other senders of the account."""

    event: Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,32}\Z")]
    timestamp: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    message_id: Any = None
    sg_message_id: Any = None
    status: Any = None
    bounce_classification: Any = None
    reason: Any = None


def _notice(event: object) -> MailNotice | None:
    """None for a mail that is not this store's, and for what cannot be read."""
    try:
        found = msgspec.convert(event, _Event)
        message = uuid.UUID(str(found.message_id)) if found.message_id else None
    except (msgspec.ValidationError, ValueError) as error:
        logger.warning("action=event_unreadable reason=%r", str(error))
        return None
    if message is None:
        return None
    return MailNotice(
        message=message,
        kind=found.event,
        happened_at=dt.datetime.fromtimestamp(found.timestamp, tz=dt.UTC),
        provider_id=_matching(r"[\w-]{1,255}", str(found.sg_message_id or "").partition(".")[0]),
        code=_matching(r"[0-9.]{1,16}", found.status),
        cause=_matching(r"[A-Za-z/ ]{1,64}", found.bounce_classification or found.reason),
    )


def _matching(pattern: str, text: object) -> str:
    """The text if it is of that form; whatever else a mail server says may hold an address."""
    return text if isinstance(text, str) and re.fullmatch(pattern, text, flags=re.ASCII) else ""


def _outcome(status: int) -> Outcome:
    match status:
        case 202:
            return Outcome.ACCEPTED
        case 401 | 403 | 404 | 405:
            return Outcome.MISCONFIGURED
        case 429:
            return Outcome.NOT_SENT
        case 408:
            return Outcome.AMBIGUOUS  # somebody gave up waiting, and nobody says at which point
    return Outcome.REFUSED if 400 <= status < 500 else Outcome.AMBIGUOUS


def _errors(body: bytes) -> str:
    """The provider's `errors`, each as "field: message"; anything else as it came."""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(": ".join(filter(None, [each.get("field"), each["message"]])) for each in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return body.decode(errors="replace")


def _words(message: Message, text: str) -> str:
    """For the journal, which must not keep a person's address."""
    return text.replace(message.recipient, "…")[:_DETAIL_LENGTH]


def _since(begun: float) -> dt.timedelta:
    return dt.timedelta(seconds=time.monotonic() - begun)
