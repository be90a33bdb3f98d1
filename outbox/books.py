"""The log's own books, and what other apps' books compare with it."""

from collections.abc import Iterable, Iterator, Mapping

from outbox.audit import Difference, Finding, Remark, check, differing, select, source
from outbox.registry import subscribers
from outbox.sources import view

LOG = "log"

Count = tuple[str, str]


@source(LOG)
def read_log() -> None:
    """`books_told` is everything that was published: what is staged has happened as much as what was relayed.
    `books_kept` holds one time: rows created before it have lost a part of their events to the purge."""
    view(
        "books_told",
        """
        SELECT id, aggregateid, type, payload FROM outbox_event
        UNION ALL SELECT id, aggregateid, type, payload FROM outbox_outboxrecord
        """,
    )
    # The margin is more than the longest transaction (each statement and pause is limited to 30 s), by which
    # times and positions can disagree.
    view(
        "books_kept",
        """
        SELECT CASE WHEN purged_through = 0 THEN '-infinity'::timestamptz ELSE coalesce(
            (SELECT created_at + interval '5 minutes' FROM outbox_event ORDER BY position LIMIT 1), 'infinity'
        ) END AS since FROM outbox_loghead
        """,
    )


def told(*, rows: str, order: str, created: str, events: Mapping[str, Count]) -> Iterator[Finding]:
    """Compare how often each event was published with how often its transition took place, both ways.

    `rows` is a table, `order` and `created` are expressions on it; `events` maps a type to two expressions: how
    often at least and at most. Rows whose events have been purged are compared with the upper bound only.
    The check needs the source LOG.
    """
    due = ", ".join(f"('{name}', {least}, {most})" for name, (least, most) in events.items())
    types = ", ".join(f"'{name}'" for name in events)
    yield from differing(
        "events that tell of the transition",
        f"""
        WITH said AS (
            SELECT aggregateid AS id, type, count(*) AS times
            FROM books_told WHERE type IN ({types}) GROUP BY 1, 2
        ), due AS (
            SELECT ({order})::text AS id, type, most,
                   CASE WHEN {created} > (SELECT since FROM books_kept) THEN least ELSE 0 END AS least
            FROM {rows}, LATERAL (VALUES {due}) AS expected(type, least, most)
            WHERE most > 0
        )
        SELECT id, type || ': ' || coalesce(
                   CASE WHEN least = most THEN least::text ELSE least || ' to ' || most END, '0'),
               coalesce(times, 0)
        FROM due FULL JOIN said USING (id, type)
        WHERE coalesce(times, 0) NOT BETWEEN coalesce(least, 0) AND coalesce(most, 0)
        ORDER BY id, type
        """,  # noqa: S608 - made of constants of the checks
    )
    ((purged,),) = select("SELECT purged_through FROM outbox_loghead")
    if purged:
        yield Remark(text=f"Events up to position {purged} were purged: of older rows, only surplus events show.")


def guarded(**triggers: str) -> Iterator[Difference]:
    """A difference for each table whose trigger of that name is missing or switched off."""
    expected = ", ".join(f"('{table}', '{name}')" for table, name in triggers.items())
    yield from differing(
        "a guard",
        f"""
        SELECT NULL, name || ' on ' || guarded, CASE WHEN tgenabled IS NULL THEN 'none' ELSE 'switched off' END
        FROM (VALUES {expected}) AS e(guarded, name)
        LEFT JOIN pg_trigger ON tgrelid = guarded::regclass AND tgname = name
        WHERE tgenabled IS NULL OR tgenabled NOT IN ('O', 'A')
        """,  # noqa: S608 - made of constants of the checks
    )


@check("S7")
def the_log_is_guarded() -> Iterable[Difference]:
    """The database itself refuses to change an event."""
    yield from guarded(outbox_event="append_only")


@check("Q3")
def the_log_is_dense() -> Iterable[Difference]:
    """The log has every position between the purged ones and its head, and no event twice."""
    yield from differing(
        "events in the log",
        """
        SELECT NULL, position - purged_through || ' up to position ' || position, kept || ' up to ' || last
        FROM outbox_loghead, (SELECT count(*) AS kept, max(position) AS last FROM outbox_event) AS e
        WHERE (kept, coalesce(last, purged_through)) <> (position - purged_through, position)
        """,
    )
    yield from differing(
        "an event's id",
        """
        SELECT min(aggregateid), 'once', count(*) || ' times, at ' || string_agg(position::text, ', ')
        FROM outbox_event GROUP BY id HAVING count(*) > 1
        """,
    )


@check("Q8")
def the_log_is_delivered() -> Iterable[Finding]:
    """Nothing is staged, every reader of the log stands at its head, and only a person's parked events wait."""
    yield from differing(
        "staged records",
        """
        SELECT NULL, 0, count(*) || ', the oldest for ' || date_trunc('second', now() - min(created_at))
        FROM outbox_outboxrecord HAVING count(*) > 0
        """,
    )
    # A feed that nobody was given a token for has no reader who could be behind.
    handled = {each.name for each in subscribers()}
    for name, is_read, position, head in select(
        """
        SELECT name, EXISTS (SELECT FROM outbox_feedtoken WHERE feed = name AND revoked_at IS NULL), s.position,
               head.position
        FROM outbox_subscription AS s, outbox_loghead AS head WHERE s.position <> head.position AND NOT paused
        """
    ):
        if is_read or name in handled:
            yield Difference(what="a subscription's position", expected=f"{name} at {head}", found=str(position))
    yield from differing(
        "a parked event",
        """
        SELECT aggregateid, 'handled, or waiting for a person',
               type || ' tried again by ' || subscription_id || ', ' || attempts || ' tries so far'
        FROM outbox_parkedevent WHERE status = 'retrying'
        """,
    )
    for name, waiting, oldest in select(
        """
        SELECT subscription_id, count(*), date_trunc('second', now() - min(parked_at))
        FROM outbox_parkedevent WHERE status = 'waiting' GROUP BY 1
        """
    ):
        yield Remark(text=f"{waiting} parked events of {name} wait for a person, the oldest for {oldest}.")
    for (name,) in select("SELECT name FROM outbox_subscription WHERE paused"):
        yield Remark(text=f"{name} is paused by a person.")
