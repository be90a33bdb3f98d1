"""Lists with Stripe's cursors and filters (docs.stripe.com/api/pagination)."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.bank.books import Change
from sandbox.bank.errors import invalid_request
from sandbox.bank.params import Params
from sandbox.jsons import Json

MAXIMUM = 100


def listing(change: Change, params: Params, *, kind: str, url: str, equal: tuple[str, ...] = ()) -> Json:
    """Return one page of the objects of `kind`; `equal` names the indexed fields that may be filtered."""
    limit = params.integer("limit", minimum=1)
    if limit is not None and limit > MAXIMUM:
        raise invalid_request(
            f"This value must be less than or equal to {MAXIMUM}.",
            param="limit",
            code="parameter_invalid_integer",
        )
    cursors: dict[str, str | None] = {}
    for name in ("starting_after", "ending_before"):
        cursors[name] = params.text(name)
        if cursors[name] is not None:
            change.require(kind, cursors[name] or "", param=name)
    filters = [(name, value) for name in equal if (value := params.text(name)) is not None]
    created = _created(params)
    keep = _wanted_types(params) if kind == "event" else None
    params.finish()
    page = change.books.tables[kind].page(
        limit=limit or 10,
        starting_after=cursors["starting_after"],
        ending_before=cursors["ending_before"],
        created=created,
        equal=filters,
        keep=keep,
    )
    return {"object": "list", "data": page.data, "has_more": page.has_more, "url": url}


def _created(params: Params) -> tuple[int | None, int | None]:
    """Read `created` or `created[gte]` and its like into a half-open range of seconds."""
    if isinstance(params.peek("created"), str):
        exact = params.integer("created")
        return exact, None if exact is None else exact + 1
    bounds = params.group("created")
    after, least = bounds.integer("gt"), bounds.integer("gte")
    before, most = bounds.integer("lt"), bounds.integer("lte")
    lows = [low for low in (least, None if after is None else after + 1) if low is not None]
    highs = [high for high in (before, None if most is None else most + 1) if high is not None]
    return max(lows, default=None), min(highs, default=None)


def _wanted_types(params: Params) -> Callable[[Json], bool] | None:
    """Read `type` (with a `*` at its end) and `types[]`."""
    types = params.words("types")
    pattern = params.text("type")
    if pattern is not None:
        types = [*types, pattern]
    if not types:
        return None
    exact = {name for name in types if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in types if name.endswith("*"))
    return lambda event: event["type"] in exact or event["type"].startswith(prefixes)
