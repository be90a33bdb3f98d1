"""What the warehouse asks and reports over HTTP, beside its feed (shop/feeds.py) and with the same token.

The feed says that something is to be picked or no longer is, the picklist what and for whom. It is the only place
where the warehouse reads personal data, and shows it only while the warehouse has a use for it.
"""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from outbox.crash_points import crash_point
from outbox.partner_api import Problem, body_of, partner_view
from shop import decisions
from shop.acting import state_of
from shop.feeds import WAREHOUSE
from shop.models import Order, Shipment

# A parcel that cannot be delivered is back within two weeks; until then its label may have to be printed again.
ADDRESS_KEPT = dt.timedelta(days=14)

_BIGINT = 2**63 - 1
# One line of text: no control characters, which neither labels nor PostgreSQL (NUL) can take.
_LINE = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
# It stands in lists and addresses: visible characters only.
_REFERENCE = r"\A[^\s\x00-\x1f\x7f-\x9f]+\Z"


class State(StrEnum):
    """Of a picklist."""

    REQUESTED = "requested"
    WITHDRAWN = "withdrawn"  # not to be shipped; the warehouse has not answered yet
    DONE = "done"  # the warehouse has answered


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the warehouse reports. `reference` and `sequence` are its own: one reference for one fact for ever,
    however often it is sent; the sequence numbers its facts."""

    reference: Annotated[str, msgspec.Meta(max_length=100, pattern=_REFERENCE)]
    order_id: Annotated[int, msgspec.Meta(ge=1, le=_BIGINT)]
    kind: Shipment.Kind
    carrier: Annotated[str, msgspec.Meta(max_length=60, pattern=_LINE)] = ""
    tracking: Annotated[str, msgspec.Meta(max_length=100, pattern=_LINE)] = ""
    sequence: Annotated[int, msgspec.Meta(ge=0, le=_BIGINT)] | None = None


@partner_view("GET", scope=WAREHOUSE)
def picklist(request: HttpRequest, *, order_id: int, partner: str) -> HttpResponse:
    """What to pick and where to send it. 404 where nothing was ever to be picked; 410, without the address, where
    nothing is to be shipped any more or was long ago."""
    orders = Order.objects.select_related("shipping_method").prefetch_related("lines", "shipments")
    order = orders.filter(pk=order_id).first()
    state = None if order is None else _state(order)
    if order is None or state is None:
        raise Problem(404, "no_picklist", f"Nothing was ever to be picked for order {order_id}.")
    if not _needs_address(order, state):
        raise Problem(
            410,
            f"picklist_{state}",
            f"Order {order_id} is not to be shipped: its picklist is {state}.",
            order_id=order_id,
            state=state,
        )
    return JsonResponse(_picklist(order, state))


@partner_view("POST", scope=WAREHOUSE)
def report(request: HttpRequest, *, partner: str) -> HttpResponse:
    """Keep a fact, whatever the order's state: 201, or 200 for the same one again."""
    reported = body_of(request, Report)
    try:
        is_new = decisions.record_shipment(**msgspec.structs.asdict(reported), reported_by=partner)
    except decisions.UnknownOrder as error:
        raise Problem(404, "unknown_order", str(error)) from error
    except decisions.ShipmentConflict as error:
        raise Problem(409, "reference_taken", str(error)) from error
    crash_point("F2")
    return JsonResponse(msgspec.to_builtins(reported), status=201 if is_new else 200)


def _state(order: Order) -> State | None:
    """None where the warehouse was never asked. Every picklist it was asked for ends with a report of its own."""
    if state_of(order).picking:
        return State.REQUESTED if order.status == Order.Status.ACCEPTED else State.WITHDRAWN
    return State.DONE if order.shipments.all() else None


def _needs_address(order: Order, state: State) -> bool:
    if state is State.REQUESTED:
        return True
    # Not for whatever was reported as shipped: the order's own status says that it was to be.
    if state is not State.DONE or order.status != Order.Status.SHIPPED:
        return False
    shipped = [each.created_at for each in order.shipments.all() if each.kind == Shipment.Kind.SHIPPED]
    return timezone.now() - min(shipped) < ADDRESS_KEPT


def _picklist(order: Order, state: State) -> dict[str, Any]:
    return {
        "order_id": order.pk,
        "number": order.number,
        "state": state,
        "shipping_method": order.shipping_method.code,
        "address": {
            "name": order.name,
            "address": order.address,
            "address_2": order.address_2,
            "postal_code": order.postal_code,
            "city": order.city,
            "country": order.country,
        },
        "lines": [
            {"product_id": line.product_id, "name": line.name, "quantity": line.quantity}
            for line in sorted(order.lines.all(), key=lambda line: line.product_id)
        ],
    }
