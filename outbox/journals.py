"""Journals of calls to the outside world: a row is opened before its call is made, and closed with what it came to.
Each is one prepared statement for a whole batch."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import models

from outbox import prepared


def open_all(model: type[models.Model], rows: Iterable[prepared.Row], **computed: str) -> list[tuple[Any, ...]]:
    """Write these rows; returns for each, in their order, its id and its `computed` columns, which are given as SQL."""
    opened = {"opened": prepared.as_json(rows)}
    return prepared.run(_opening(model, tuple(computed.items())), opened)


@functools.cache
def _opening(model: type[models.Model], computed: tuple[tuple[str, str], ...]) -> bytes:
    source = f"{prepared.given(model, 'opened')} ORDER BY given.ordinality"
    returned = ", ".join(["id", *(column for column, _ in computed)])
    return f"{prepared.insertion(model, source, **dict(computed))} RETURNING {returned}".encode()


def close_all(model: type[models.Model], told: Sequence[prepared.Row]) -> None:
    """Write what calls came to: an id and the same further columns each. A row that is closed already (a lost
    acknowledgement) stays as it is."""
    if told:
        prepared.run(_closing(model, tuple(told[0])), prepared.changes(told))


@functools.cache
def _closing(model: type[models.Model], columns: tuple[str, ...]) -> bytes:
    told = [column for column in columns if column != "id"]
    assigned = {"finished_at": "statement_timestamp()", **{column: f"given.{column}" for column in told}}
    return f"{prepared.change(model, assigned, told)} AND stored.finished_at IS NULL".encode()
