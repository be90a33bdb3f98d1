"""The bank as the store needs it. An adapter answers every call with an `Answer`; it never raises for what the
bank or the network does."""

import datetime as dt
import enum
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from django.db import models

# A request body exactly as the bank gets it: stored in the journal with its key, and sent again unchanged.
Body = dict[str, Any]

T = TypeVar("T")


class Outcome(models.TextChoices):
    """What is known about one call. The journal stores these words."""

    ANSWERED = "answered"  # the bank answered with the intent, refund or dispute
    DECLINED = "declined"  # 402: definite for this card
    CARD_UNUSABLE = "card_unusable"  # the payment method no longer works: the customer gives another
    NOT_EXECUTED = "not_executed"  # refused, 429, 409, lock timeout: nothing happened; same key, later
    UNKNOWN = "unknown"  # timeout, reset, garbage, 5xx: anything may have happened
    REFUSED = "refused"  # 400, 404: our request is wrong; nothing happened, a person looks
    UNAUTHORIZED = "unauthorized"  # 401, 403: our key is wrong; nothing happened
    KEY_MISUSED = "key_misused"  # the key was used with another body: our bug


class IntentStatus(enum.StrEnum):
    """docs.stripe.com/payments/paymentintents/lifecycle"""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A payment intent as the bank sees it now. `amount` in minor units. `payment_ref`, `order_ref` and `reference` are
    what we wrote into its metadata, as far as it is ours."""

    id: str
    status: str
    amount: int
    currency: str
    latest_charge: str = ""
    action_url: str = ""
    # The last refusal, and the payment method it was about: it survives into a later card's attempt.
    error_code: str = ""
    error_payment_method: str = ""
    payment_ref: uuid.UUID | None = None
    order_ref: int | None = None
    reference: str = ""
    created: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BankRefund:
    """A refund as the bank sees it now: pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str
    amount: int
    failure_code: str = ""
    currency: str = ""
    intent_id: str = ""
    refund_ref: uuid.UUID | None = None
    created: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BankDispute:
    """A dispute as the bank sees it now. `refundable`: a refund would still end it (an inquiry)."""

    id: str
    status: str
    amount: int
    currency: str
    reason: str
    refundable: bool
    opened_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BankNotice:
    """The bank says that something happened to one of its objects: its webhook, or an entry of its list of them.

    `intent_id`, `refund_id` and `dispute_id` are the bank's, empty where it is about none; `payment_ref` and
    `refund_ref` are our own public ids, where the object carries them.
    """

    event_id: str
    type: str
    created: dt.datetime
    livemode: bool
    intent_id: str = ""
    refund_id: str = ""
    dispute_id: str = ""
    payment_ref: uuid.UUID | None = None
    refund_ref: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list of the bank's, which is one call. `more`: the next one takes another call."""

    items: Sequence[T]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One call's outcome. `intent`, `refund` or `dispute` is present when ANSWERED, and otherwise whenever the bank
    sent it along; a search that found nothing is ANSWERED with none of them."""

    outcome: Outcome
    intent: Intent | None = None
    refund: BankRefund | None = None
    dispute: BankDispute | None = None
    http_status: int | None = None
    request_id: str = ""
    replayed: bool = False
    code: str = ""
    decline_code: str = ""
    message: str = ""
    retry_after: dt.timedelta | None = None
    duration: dt.timedelta = dt.timedelta(0)

    @property
    def bank_status(self) -> str:
        """What the bank calls the object it showed."""
        shown = self.intent or self.refund or self.dispute
        return shown.status if shown else ""

    @property
    def reason(self) -> str:
        """The most precise code the bank gave."""
        return self.decline_code or self.code


class Gateway(Protocol):
    """Calls block for at most their deadline and run in any thread."""

    def create_body(self, *, order_id: int, payment: str, reference: str, amount: int, currency: str) -> Body:
        """The body that creates an unconfirmed intent; `payment` is our public id, kept in its metadata."""

    def confirm_body(self, *, payment_method: str, return_url: str) -> Body:
        """The body that charges."""

    def create(self, *, key: str, body: Body) -> Answer: ...

    def confirm(self, *, intent_id: str, key: str, body: Body) -> Answer: ...

    def retrieve(self, *, intent_id: str) -> Answer: ...

    def cancel(self, *, intent_id: str, key: str) -> Answer: ...

    def refund_body(self, *, intent_id: str, refund: str, amount: int) -> Body:
        """The body that sends money back; `refund` is our public id, kept in its metadata."""

    def refund(self, *, key: str, body: Body) -> Answer: ...

    def retrieve_refund(self, *, refund_id: str) -> Answer: ...

    def find_refund(self, *, intent_id: str, refund: str) -> Answer:
        """Look for our refund among those of the intent; ANSWERED without a refund when it is not there."""

    def retrieve_dispute(self, *, dispute_id: str) -> Answer: ...

    def list_events(self, *, after: str, since: dt.datetime) -> Iterator[BankNotice]:
        """What the bank has told, oldest first: all after the event `after`; where that is empty, or so old that the
        bank has forgotten it, all created since. Raises ConnectionError when the bank does not answer."""

    def ping(self) -> Answer:
        """Ask for as little as possible: ANSWERED when the bank works and knows our key."""

    def list_intents(self, *, since: dt.datetime, until: dt.datetime | None = None) -> Iterator[Page[Intent]]:
        """Every intent created since and, by the second, not after `until`, newest first. Raises ConnectionError when
        the bank does not answer."""

    def list_refunds(self, *, since: dt.datetime, until: dt.datetime | None = None) -> Iterator[Page[BankRefund]]:
        """The same of every refund."""
