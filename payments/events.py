"""What payments reports. Amounts are integer minor units; every event belongs to its order's stream."""

from outbox.events import DomainEvent, event


class _PaymentEvent(DomainEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    order_id: int
    payment_id: str
    amount: int
    currency: str


@event("PaymentProcessed", version=1, aggregate="order", key="order_id")
class PaymentProcessed(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The customer was charged. Published once for each payment."""

    intent_id: str


@event("PaymentDeclined", version=1, aggregate="order", key="order_id")
class PaymentDeclined(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """This card was refused; another may follow on the same intent. `code` is the bank's, for the page's words."""

    card_no: int
    code: str


@event("PaymentActionRequired", version=1, aggregate="order", key="order_id")
class PaymentActionRequired(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The customer must confirm at the bank (3-D Secure)."""

    card_no: int


@event("PaymentFailed", version=1, aggregate="order", key="order_id")
class PaymentFailed(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ended without money, by a failure."""

    code: str


@event("PaymentCanceled", version=1, aggregate="order", key="order_id")
class PaymentCanceled(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ended without money, because it was asked for; the bank has confirmed that nothing can be charged."""

    code: str


@event("RefundProcessed", version=1, aggregate="order", key="order_id")
class RefundProcessed(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bank has sent `amount` back."""

    refund_id: str
    reason: str


@event("RefundFailed", version=1, aggregate="order", key="order_id")
class RefundFailed(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bank could not send `amount` back, perhaps days after it seemed to; a person decides."""

    refund_id: str
    code: str


@event("DisputeOpened", version=1, aggregate="order", key="order_id")
class DisputeOpened(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The customer's bank asks for the money back."""

    dispute_id: str
    reason: str


@event("DisputeClosed", version=1, aggregate="order", key="order_id")
class DisputeClosed(_PaymentEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`outcome` is the bank's word: won, lost, warning_closed."""

    dispute_id: str
    outcome: str
