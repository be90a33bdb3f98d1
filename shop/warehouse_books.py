"""The books against the warehouse's own: its file (shop/simulation/warehouse_file.py) is read as it is, with none of
the code that wrote it."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from outbox.audit import Difference, Finding, Remark, SourceUnreadable, check, differing, source
from outbox.sources import copied

WAREHOUSE = "warehouse"
# The feed's types, said again: a feed that forgot one must differ.
_TYPES = "'PicklistRequested', 'PicklistWithdrawn'"

_file: ContextVar[Path | None] = ContextVar("warehouse_file", default=None)


@contextmanager
def compared_with(file: Path | None) -> Iterator[None]:
    """Audits inside compare with that file; without one they only remark that they did not."""
    token = _file.set(file)
    try:
        yield
    finally:
        _file.reset(token)


@source(WAREHOUSE)
def read_warehouse() -> None:
    """`books_wh_page`, `books_wh_event` and `books_wh_report` with the numbers of their lines."""
    path = _file.get()
    lines = [] if path is None else list(_lines(path))
    with copied("books_wh_page", "line int, after bigint, through bigint") as append:
        append((n, line["after"], line["through"]) for n, line in lines if line["line"] == "page")
    with copied(
        "books_wh_event", "line int, place int, position bigint, id text, order_id text, type text, data jsonb"
    ) as append:
        append(
            (n, place, int(each["sequence"]), each["id"], each["subject"], each["type"], json.dumps(each["data"]))
            for n, line in lines
            if line["line"] == "page"
            for place, each in enumerate(line["events"])
        )
    answered = {line["reference"] for _, line in lines if line["line"] == "answer"}
    fields = ("reference", "sequence", "order_id", "kind", "carrier", "tracking")
    with copied(
        "books_wh_report",
        "line int, reference text, sequence bigint, order_id bigint, kind text, carrier text, tracking text,"
        " answered bool",
    ) as append:
        append(
            (n, *(line[name] for name in fields), line["reference"] in answered)
            for n, line in lines
            if line["line"] == "report"
        )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered lines; a last one that is still being written is none. Raises SourceUnreadable."""
    try:
        whole = path.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        yield from enumerate((json.loads(line) for line in complete.splitlines()), start=1)
    except (OSError, ValueError) as error:
        raise SourceUnreadable(f"The warehouse's file {path} could not be read: {error}.") from error


def _not_given() -> Iterator[Remark]:
    if _file.get() is None:
        yield Remark(text="The warehouse's own books were not compared: give its file with --warehouse-file.")


@check("S6", sources=[WAREHOUSE])
def the_warehouse_ships_what_is_paid() -> Iterable[Finding]:
    """What the warehouse says it has shipped was asked for in its feed before, is paid, and left once."""
    yield from _not_given()
    yield from differing(
        "what the warehouse shipped",
        """
        SELECT r.order_id, 'asked for and paid, once',
               concat_ws(', ', r.reference, CASE WHEN asked THEN 'asked for' ELSE 'never asked for' END,
                         'payment ' || coalesce(p.status, 'missing'), times || ' times')
        FROM (
            SELECT *, count(*) OVER (PARTITION BY order_id) AS times, EXISTS (
                SELECT FROM books_wh_event AS e
                WHERE e.order_id = r.order_id::text AND e.type = 'PicklistRequested' AND e.line < r.line
            ) AS asked
            FROM books_wh_report AS r WHERE kind = 'shipped'
        ) AS r LEFT JOIN payments_payment AS p ON p.order_id = r.order_id
        WHERE NOT asked OR p.status IS DISTINCT FROM 'succeeded' OR times > 1
        """,
    )


@check("Q6", sources=[WAREHOUSE])
def the_warehouse_has_its_feed() -> Iterable[Finding]:
    """What the warehouse accepted is its feed: nothing missing, nothing twice, in order for each order."""
    yield from _not_given()
    if _file.get() is not None:
        yield from _feed_differences()


def _feed_differences() -> Iterator[Difference]:
    yield from differing(
        "a page of the warehouse's file",
        """
        SELECT NULL, 'after ' || previous, 'line ' || line || ': after ' || after
        FROM (SELECT *, lag(through) OVER (ORDER BY line) AS previous FROM books_wh_page) AS p
        WHERE after <> previous
        """,
    )
    yield from differing(
        "an event of the warehouse's feed",
        f"""
        WITH feed AS (
            SELECT position, id::text, aggregateid AS order_id, type, payload AS data FROM outbox_event
            WHERE type IN ({_TYPES}) AND position > coalesce(
                (SELECT min(after) FROM books_wh_page),
                (SELECT position FROM outbox_subscription WHERE name = 'warehouse')
            )
        ), accepted AS (
            SELECT position, id, order_id, type, data, count(*) AS times FROM books_wh_event
            WHERE position > (SELECT purged_through FROM outbox_loghead)
            GROUP BY position, id, order_id, type, data
        )
        SELECT coalesce(f.order_id, a.order_id), coalesce(f.type || ' at ' || position || ', once', 'nothing'),
               coalesce(a.type || ' at ' || position || ', ' || times || ' times, ' || a.id, 'nothing')
        FROM feed AS f FULL JOIN accepted AS a USING (position)
        WHERE (f.id, f.order_id, f.type, f.data, 1) IS DISTINCT FROM (a.id, a.order_id, a.type, a.data, times)
        """,  # noqa: S608 - made of constants
    )
    yield from differing(
        "the warehouse's sequence for an order",
        """
        SELECT order_id, 'above ' || previous, position
        FROM (
            SELECT *, lag(position) OVER (PARTITION BY order_id ORDER BY line, place) AS previous
            FROM books_wh_event
        ) AS e WHERE position <= previous
        """,
    )
    yield from differing(
        "what the warehouse acknowledged",
        """
        SELECT NULL, 'at most ' || coalesce(max(through), 0), s.position
        FROM outbox_subscription AS s LEFT JOIN books_wh_page ON true
        WHERE s.name = 'warehouse' GROUP BY s.position
        HAVING s.position > max(through)
        """,
    )


@check("Q7", sources=[WAREHOUSE])
def the_warehouse_was_heard() -> Iterable[Finding]:
    """Every report that was answered with 2xx is kept as it was sent, and none that was not sent."""
    yield from _not_given()
    yield from differing(
        "a report of the warehouse",
        """
        SELECT coalesce(r.order_id, s.order_id), coalesce(concat_ws(' ', reference, r.kind, r.tracking), 'nothing'),
               concat_ws(' ', s.kind, s.tracking)
        FROM books_wh_report AS r
        FULL JOIN (
            SELECT * FROM shop_shipment
            WHERE split_part(reference, '-', 1) IN (SELECT split_part(reference, '-', 1) FROM books_wh_report)
        ) AS s USING (reference)
        WHERE (r.sequence, r.order_id, r.kind, r.carrier, r.tracking)
              IS DISTINCT FROM (s.sequence, s.order_id, s.kind, s.carrier, s.tracking)
          AND (s.id IS NOT NULL OR r.answered)
        """,
    )
