"""What the shop reports. Amounts are integer minor units; ids and codes only, never personal data."""

import msgspec

from outbox.events import DomainEvent, event


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    product_id: int
    quantity: int


class _OrderEvent(DomainEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    order_id: int


@event("OrderPlaced", version=1, aggregate="order", key="order_id")
class OrderPlaced(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order was acknowledged and its goods are held. `total` includes shipping."""

    total: int
    currency: str
    lines: tuple[Line, ...]


@event("InventoryReserved", version=1, aggregate="order", key="order_id")
class InventoryReserved(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lines: tuple[Line, ...]


@event("InventoryUnavailable", version=1, aggregate="order", key="order_id")
class InventoryUnavailable(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order could not be held; `lines` are those that were short. It has no payment."""

    lines: tuple[Line, ...]


@event("OrderUnderReview", version=1, aggregate="order", key="order_id")
class OrderUnderReview(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person decides before anything is charged; `reasons` are the rules' codes."""

    reasons: tuple[str, ...]


@event("OrderPaid", version=1, aggregate="order", key="order_id")
class OrderPaid(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    total: int
    currency: str


@event("OrderAccepted", version=1, aggregate="order", key="order_id")
class OrderAccepted(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paid and checked: the store will deliver."""


@event("OrderPaymentFailed", version=1, aggregate="order", key="order_id")
class OrderPaymentFailed(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: str


@event("OrderCancelled", version=1, aggregate="order", key="order_id")
class OrderCancelled(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cancelled_by` is shopper, operator or system; `refund_issued` says whether money goes back."""

    cancelled_by: str
    reason: str
    refund_issued: bool


@event("OrderFulfillmentFailed", version=1, aggregate="order", key="order_id")
class OrderFulfillmentFailed(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: str


@event("PicklistRequested", version=1, aggregate="order", key="order_id")
class PicklistRequested(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The warehouse may pick; it reads the address from the picklist resource."""

    lines: tuple[Line, ...]


@event("PicklistWithdrawn", version=1, aggregate="order", key="order_id")
class PicklistWithdrawn(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The warehouse is asked not to ship; it answers `withdrawn`, or `shipped` when it is too late."""

    reason: str


@event("OrderShipped", version=1, aggregate="order", key="order_id")
class OrderShipped(_OrderEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    carrier: str
    tracking: str
