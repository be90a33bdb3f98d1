"""Stripe behind the Gateway protocol, through the official SDK; the one module that imports it.

The SDK's own retries are off and every POST carries our key: what a call did must be known to whoever decides
what comes next. Facts about errors: docs.stripe.com/api/errors, /error-low-level, /api/idempotent_requests.
"""

import datetime as dt
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote_plus

import requests
import stripe

from outbox.crash_points import calling
from outbox.going_live import Reply
from outbox.transport import DeadlineSession, never_sent, retry_after
from outbox.webhooks import Malformed, NotGenuine, check_age
from payments.gateways import stripe_objects as objects
from payments.gateways.base import Answer, BankDispute, BankNotice, BankRefund, Body, Intent, Outcome, Page
from payments.gateways.notices import TYPES, notice

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Codes of a 400 that are about the card the customer gave, not about our request: the customer gives another.
_CARD_CODES = frozenset(
    {
        "payment_method_unactivated",
        "payment_method_provider_decline",
        "payment_method_unexpected_state",
        "payment_method_not_available",
        "payment_method_invalid_parameter",
        "token_already_used",
    }
)


_READ: dict[str, Callable[[dict[str, Any]], Intent | BankRefund | BankDispute]] = {
    "intent": objects.intent,
    "refund": objects.refund,
    "dispute": objects.dispute,
}

# What the SDK asks to be answered as.
API_VERSION = stripe.api_version
# The age that Stripe's own libraries accept of a signature.
SIGNED_WITHIN = dt.timedelta(seconds=stripe.Webhook.DEFAULT_TOLERANCE)


class StripeGateway:
    """One client for any number of threads. Timeouts in seconds; `deadline` bounds a whole call."""

    def __init__(
        self,
        *,
        secret_key: str,
        api_base: str,
        connect_timeout: float,
        read_timeout: float,
        deadline: float,
        connections: int,
    ) -> None:
        session = DeadlineSession(deadline=deadline, connections=connections)
        http = stripe.RequestsClient(timeout=(connect_timeout, read_timeout), session=session)
        client = stripe.StripeClient(
            secret_key, base_addresses={"api": api_base}, max_network_retries=0, http_client=http
        )
        self._client = client
        self._intents, self._refunds, self._events = client.v1.payment_intents, client.v1.refunds, client.v1.events

    def create_body(self, *, order_id: int, payment: str, reference: str, amount: int, currency: str) -> Body:
        return {
            "amount": amount,
            "currency": currency.lower(),
            "payment_method_types": ["card"],
            "metadata": {"order_id": str(order_id), "payment": payment, "reference": reference},
        }

    def confirm_body(self, *, payment_method: str, return_url: str) -> Body:
        return {"payment_method": payment_method, "return_url": return_url}

    def create(self, *, key: str, body: Body) -> Answer:
        return self._asked("post", "payment_intents", shows="intent", idempotency_key=key, **body)

    def confirm(self, *, intent_id: str, key: str, body: Body) -> Answer:
        path = f"payment_intents/{quote_plus(intent_id)}/confirm"
        return self._asked("post", path, shows="intent", idempotency_key=key, **body)

    def retrieve(self, *, intent_id: str) -> Answer:
        return self._asked("get", f"payment_intents/{quote_plus(intent_id)}", shows="intent")

    def cancel(self, *, intent_id: str, key: str) -> Answer:
        path = f"payment_intents/{quote_plus(intent_id)}/cancel"
        return self._asked("post", path, shows="intent", idempotency_key=key)

    def refund_body(self, *, intent_id: str, refund: str, amount: int) -> Body:
        return {"payment_intent": intent_id, "amount": amount, "metadata": {"refund": refund}}

    def refund(self, *, key: str, body: Body) -> Answer:
        return self._asked("post", "refunds", shows="refund", idempotency_key=key, **body)

    def retrieve_refund(self, *, refund_id: str) -> Answer:
        return self._asked("get", f"refunds/{quote_plus(refund_id)}", shows="refund")

    def find_refund(self, *, intent_id: str, refund: str) -> Answer:
        def search() -> tuple[Any, dict[str, Any]]:
            page = self._refunds.list({"payment_intent": intent_id, "limit": 100})
            shown = (each.to_dict() for each in page.auto_paging_iter())
            found = next((each for each in shown if (each.get("metadata") or {}).get("refund") == refund), None)
            return None, {"refund": objects.refund(found)} if found else {}

        return _answered(search)

    def retrieve_dispute(self, *, dispute_id: str) -> Answer:
        return self._asked("get", f"disputes/{quote_plus(dispute_id)}", shows="dispute")

    def list_events(self, *, after: str, since: dt.datetime) -> Iterator[BankNotice]:
        """docs.stripe.com/webhooks/process-undelivered-events: `ending_before` pages from old to new."""
        try:
            if after:
                try:
                    page = self._event_page(ending_before=after)
                except stripe.InvalidRequestError as error:
                    if error.param != "ending_before":
                        raise
                else:
                    yield from _notices(page)
                    return
            newest_first = list(_notices(self._event_page(created={"gte": int(since.timestamp())})))
        except stripe.StripeError as error:
            raise ConnectionError(f"The bank did not list its events: {error}") from error
        yield from reversed(newest_first)

    def _event_page(self, **which: Any) -> Any:
        params: Any = {"types": list(TYPES), "limit": 100, **which}
        return self._events.list(params)

    def ping(self) -> Answer:
        return self._asked("get", "payment_intents", limit=1)

    def _asked(self, method: Literal["get", "post"], path: str, *, shows: str = "", **params: Any) -> Answer:
        """One call, and what it `shows`, by its name in Answer. The JSON is read as it came: to have the SDK make
        objects of its own of it, and JSON of those again, is a third of a call's CPU time."""

        def ask() -> tuple[Any, dict[str, Any]]:
            reply = self._client.raw_request(method, f"/v1/{path}", **params)
            return reply, {shows: _READ[shows](reply.data)} if shows else {}

        return _answered(ask)

    def list_intents(self, *, since: dt.datetime, until: dt.datetime | None = None) -> Iterator[Page[Intent]]:
        return _listed(self._intents, since, until, objects.intent)

    def list_refunds(self, *, since: dt.datetime, until: dt.datetime | None = None) -> Iterator[Page[BankRefund]]:
        return _listed(self._refunds, since, until, objects.refund)

    def ask(self, method: Literal["get", "post"], path: str, **params: Any) -> Reply:
        """A plain question about our account, for stripe_account.py: it reads, or is refused for being incomplete."""
        sent_at, begun = dt.datetime.now(tz=dt.UTC), time.monotonic()
        try:
            with calling("B1"):
                answer = self._client.raw_request(method, path, **params)
        except stripe.StripeError as error:
            problem = " ".join(str(error.user_message or error).split())[:1000]
            status, body, headers = error.http_status, None, _headers(error)
        else:
            problem, status, body, headers = "", answer.code, answer.data, _headers(answer)
        return Reply(status=status, body=body, problem=problem, headers=headers, sent_at=sent_at, took=_since(begun))


def read_webhook(body: bytes, header: str, *, secrets: Sequence[str], livemode: bool) -> BankNotice:
    """The notice in a webhook that one of the secrets has signed (docs.stripe.com/webhooks/signature).

    Every delivery is signed anew, so none is old; the SDK does not refuse those from the future. Raises NotGenuine,
    Malformed.
    """
    if not any(_signed(body, header, secret) for secret in secrets):
        raise NotGenuine("no secret of STRIPE_WEBHOOK_SECRET has signed it")
    signed_at = re.search(r"(?:^|,)t=(\d+)", header)
    check_age(int(signed_at[1]) if signed_at else 0, within=SIGNED_WITHIN)
    try:
        found = notice(body)
    except ValueError as error:
        raise Malformed(str(error)) from error
    if found.livemode != livemode:
        mode = "live" if found.livemode else "test"
        raise NotGenuine(f"an event of {mode} mode, and STRIPE_SECRET_KEY is of the other")
    return found


def _signed(body: bytes, header: str, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret))
    except (stripe.SignatureVerificationError, UnicodeError, TypeError):
        return False  # the last two: bytes that are no text, and signatures that are no ASCII


def _notices(page: Any) -> Iterator[BankNotice]:
    for event in page.auto_paging_iter():
        try:
            yield notice(event.to_dict())
        except ValueError as error:  # it may not keep us from reading the others
            logger.error("action=event_unreadable event=%s reason=%r", event.id, str(error))


def _listed(
    resource: Any, since: dt.datetime, until: dt.datetime | None, read: Callable[[dict[str, Any]], T]
) -> Iterator[Page[T]]:
    """Page after page, newest first (docs.stripe.com/api/pagination)."""
    created = {"gte": int(since.timestamp())}
    if until is not None:
        created["lte"] = int(until.timestamp())
    try:
        page = resource.list({"limit": 100, "created": created})
        while page.data:
            yield Page(items=[read(each.to_dict()) for each in page.data], more=page.has_more)
            page = page.next_page()  # an empty one, without a call, where there are no more
    except stripe.StripeError as error:
        raise ConnectionError(f"The bank did not list what it has: {error}") from error


def _answered(call: Callable[[], tuple[Any, dict[str, Any]]]) -> Answer:
    """Make the call and say what is known of it. It returns what has the answer's headers, and what was shown by the
    names of Answer."""
    begun = time.monotonic()
    try:
        reply, shown = call()
        headers = _headers(reply)
    except stripe.StripeError as error:
        headers = _headers(error)
        return Answer(
            outcome=_classify(error),
            intent=_intent_of(error),
            http_status=error.http_status,
            request_id=error.request_id or "",
            replayed=headers.get("idempotent-replayed") == "true",
            code=str(error.code or getattr(error.error, "code", None) or ""),
            decline_code=str(getattr(error.error, "decline_code", None) or ""),
            message=str(error.user_message or error)[:1000],
            retry_after=retry_after(headers.get("retry-after")),
            duration=_since(begun),
        )
    except (KeyError, TypeError, AttributeError) as error:
        # A 200 that is not what was asked for, such as a cut body that is still JSON: the effect is not known.
        message = f"not what was asked for: {error!r}"
        return Answer(outcome=Outcome.UNKNOWN, http_status=200, message=message, duration=_since(begun))
    return Answer(
        outcome=Outcome.ANSWERED,
        http_status=200,
        request_id=headers.get("request-id", ""),
        replayed=headers.get("idempotent-replayed") == "true",
        duration=_since(begun),
        **shown,
    )


def _headers(response: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in (getattr(response, "headers", None) or {}).items()}


def _classify(error: stripe.StripeError) -> Outcome:
    status = error.http_status
    code = error.code or getattr(error.error, "code", None)
    if isinstance(error, stripe.APIConnectionError):
        return Outcome.NOT_EXECUTED if _never_sent(error) else Outcome.UNKNOWN
    if status in (409, 429) or code == "lock_timeout":
        return Outcome.NOT_EXECUTED  # the limiter and the key's lock stand before any execution
    if isinstance(error, stripe.CardError):
        return Outcome.DECLINED
    if isinstance(error, stripe.IdempotencyError):
        return Outcome.KEY_MISUSED
    if status in (401, 403):
        return Outcome.UNAUTHORIZED
    if isinstance(error, stripe.InvalidRequestError):
        if code == "payment_intent_unexpected_state":
            return Outcome.ANSWERED if _intent_of(error) is not None else Outcome.UNKNOWN
        if code in _CARD_CODES or (code == "resource_missing" and error.param == "payment_method"):
            return Outcome.CARD_UNUSABLE
        return Outcome.REFUSED
    return Outcome.UNKNOWN  # 5xx, malformed answers, whatever the SDK adds


def _never_sent(error: stripe.APIConnectionError) -> bool:
    cause = error.__cause__ or error.__context__
    return isinstance(cause, requests.RequestException) and never_sent(cause)


def _intent_of(error: stripe.StripeError) -> Intent | None:
    found = getattr(error.error, "payment_intent", None)
    try:
        return objects.intent(found if isinstance(found, dict) else found.to_dict()) if found else None
    except (KeyError, TypeError, AttributeError):
        return None


def _since(begun: float) -> dt.timedelta:
    return dt.timedelta(seconds=time.monotonic() - begun)
