"""`expand[]`: objects in the place of their ids (docs.stripe.com/api/expanding_objects)."""

from __future__ import annotations

from sandbox.bank.books import Change
from sandbox.bank.errors import invalid_request
from sandbox.jsons import Json

KINDS = {"pi": "payment_intent", "pm": "payment_method", "ch": "charge", "re": "refund", "dp": "dispute"}
EXPANDABLE = frozenset({"latest_charge", "payment_method", "payment_intent", "charge"})


def expand(change: Change, value: Json, paths: list[str]) -> Json:
    """Return `value` with the named ids replaced. A path such as `data.latest_charge` walks through lists."""
    for path in paths:
        value = _expand(change, value, path.split("."), whole=path)
    return value


def _expand(change: Change, value: Json, path: list[str], *, whole: str) -> Json:
    head, *rest = path
    if head == "data" and value.get("object") == "list":
        return {**value, "data": [_expand(change, item, rest, whole=whole) for item in value["data"]]}
    if head not in EXPANDABLE or head not in value:
        raise invalid_request(f"This property cannot be expanded ({whole}).", param="expand")
    child = value[head]
    if isinstance(child, str):
        child = change.get(KINDS[child.split("_")[0]], child)
    if rest and isinstance(child, dict):
        child = _expand(change, child, rest, whole=whole)
    return {**value, head: child}
