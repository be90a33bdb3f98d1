"""Feeds over HTTP: pages that prove themselves, acknowledging, tokens."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from outbox import feed_tokens, registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.models import Event, FeedToken, LogHead, Subscription
from outbox.purging import purge_once
from tests.integration.outbox.things import Stepped, relay_all, step, subscribed
from tests.integration.partner import Json, Partner, problem, read
from tests.threads import together


@contextmanager
def offered(name: str, start: registry.Start = "beginning") -> Iterator[Partner]:
    """A feed of steps for the time of a test, and a reader of it."""
    registry.feed(name, Stepped, start=start)
    try:
        subscriptions.ensure_all()
        yield Partner(name)
    finally:
        registry.unsubscribe(name)


@pytest.fixture
def steps() -> Iterator[Partner]:
    with offered("steps") as partner:
        yield partner


def page(partner: Partner, **query: int) -> Json:
    response = partner.get("/feeds/steps", **query)
    assert response.status_code == 200, response.content
    return read(response)


def positions(page: Json) -> list[int]:
    return [int(event["sequence"]) for event in page["events"]]


def acknowledge(partner: Partner, through: object) -> int:
    return partner.post("/feeds/steps/ack", {"through": through}).status_code


def cursor() -> int:
    return Subscription.objects.get(name="steps").position


# --- pages ------------------------------------------------------------------------------------------


def test_a_page_is_on_the_disk_before_it_is_shown(steps: Partner) -> None:
    """The relay's own commit does not wait for that; whoever reads here would remember what the server may forget.
    Several times, as the server writes by itself every 200 ms, too."""
    with connection.cursor() as cursor:
        for poisoned in (False, True) * 8:  # one of this feed, and one of others, which moves `through` alone
            step(1, poisoned=poisoned)
            relay_all()
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            (written,) = cursor.fetchone()
            page(steps)
            cursor.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [written])
            assert cursor.fetchone() == (True,)


def test_pages_join_without_a_gap(steps: Partner) -> None:
    for _ in range(3):
        step(1, times=2)
        step(1, poisoned=True)  # not of this feed
    relay_all()
    first = page(steps, limit=3)
    second = page(steps, after=first["through"], limit=3)
    third = page(steps, after=second["through"])
    assert (first["after"], positions(first), first["through"]) == (0, [1, 2, 4], 4)
    assert (second["after"], positions(second), second["through"]) == (4, [5, 7, 8], 8)
    # Complete up to the head, though the last position shows nothing of this feed.
    assert (third["after"], positions(third), third["through"]) == (8, [], 9)
    assert page(steps, after=9) == {"after": 9, "through": 9, "events": []}


def test_reading_moves_nothing_and_without_after_the_cursor_is_where_it_starts(steps: Partner) -> None:
    step(1, times=5)
    relay_all()
    assert page(steps) == page(steps) == page(steps, after=0)
    assert cursor() == 0
    assert acknowledge(steps, 3) == 200
    assert page(steps)["after"] == 3
    assert positions(page(steps)) == [4, 5]
    assert positions(page(steps, after=1)) == [2, 3, 4, 5]  # what is kept may be read again


def test_an_event_is_a_cloud_event(steps: Partner) -> None:
    step(7)
    relay_all()
    (event,) = page(steps)["events"]
    row = Event.objects.get()
    assert event == {
        "specversion": "1.0",
        "id": str(row.id),
        "source": "http://127.0.0.1:8000",
        "type": "Stepped",
        "subject": "7",
        "time": event["time"],
        "datacontenttype": "application/json",
        "sequence": "0000000000000000001",
        "dataversion": 1,
        "traceparent": row.headers["traceparent"],
        "correlationid": row.headers["correlation_id"],
        "data": {"counter": 7, "step": 1},
    }
    assert dt.datetime.fromisoformat(event["time"]) == row.created_at


@pytest.mark.parametrize(
    "query", [{"after": -1}, {"after": "x"}, {"after": "9" * 30}, {"after": "²"}, {"limit": 0}, {"limit": 501}]
)
def test_a_query_that_makes_no_sense(steps: Partner, query: Json) -> None:
    assert problem(steps.get("/feeds/steps", **query)) == (400, "invalid_query")


def test_a_reader_ahead_of_the_log_is_told(steps: Partner) -> None:
    assert problem(steps.get("/feeds/steps", after=1)) == (409, "ahead_of_log")


def test_nothing_is_missing_while_others_write(steps: Partner) -> None:
    """Writers, a relay and a reader at once: the chain of pages holds every step."""
    written, relayed = threading.Event(), threading.Event()

    def write() -> list[int]:
        for number in range(60):
            step(number % 7, times=3, poisoned=number % 3 == 0, slow=0.005 if number % 10 == 0 else 0)
        return []

    def relay() -> list[int]:
        try:
            while not written.is_set():
                relay_all()
            relay_all()
        finally:
            relayed.set()
        return []

    def read_all() -> list[int]:
        found: list[int] = []
        through = 0
        while not relayed.is_set() or through < LogHead.objects.get().position:
            got = page(steps, after=through, limit=7)
            assert got["after"] == through
            found += positions(got)
            through = got["through"]
        return found

    def write_all() -> list[int]:
        try:
            together(write, write)
        finally:
            written.set()
        return []

    *_, found = together(write_all, relay, read_all)
    assert found == list(Event.objects.filter(type="Stepped").order_by("position").values_list("position", flat=True))
    assert len(found) == 2 * 40 * 3


# --- acknowledging ----------------------------------------------------------------------------------


def test_the_cursor_moves_forwards_only(steps: Partner) -> None:
    step(1, times=5)
    relay_all()
    assert acknowledge(steps, 4) == 200
    assert acknowledge(steps, 4) == 200
    assert problem(steps.post("/feeds/steps/ack", {"through": 3})) == (409, "already_acknowledged")
    assert problem(steps.post("/feeds/steps/ack", {"through": 6})) == (409, "ahead_of_log")
    assert cursor() == 4


@pytest.mark.parametrize(
    "body",
    [{}, {"through": "4"}, {"through": 4.0}, {"through": True}, {"through": -1}, {"through": 2**63}, [], None, b" ",
     b"{", b"\xff", {"through": 1, "more": 1}],
)  # fmt: skip
def test_a_body_that_makes_no_sense_moves_nothing(steps: Partner, body: object) -> None:
    step(1, times=5)
    relay_all()
    assert problem(steps.post("/feeds/steps/ack", body)) == (422, "invalid_body")
    assert cursor() == 0


def test_other_bodies_are_not_read(steps: Partner) -> None:
    assert problem(steps.post("/feeds/steps/ack", b"through=1", content_type="text/plain")) == (415, "not_json")
    assert problem(steps.post("/feeds/steps/ack", b" " * 9000)) == (413, "body_too_large")


def test_acknowledged_at_once_from_everywhere(steps: Partner) -> None:
    step(1, times=8)
    relay_all()

    def say(through: int) -> int:
        return acknowledge(Partner("steps", token=steps.token), through)

    statuses = together(*[lambda n=n: say(n) for n in range(1, 9)])
    assert set(statuses) <= {200, 409}
    assert cursor() == 8


def test_the_purge_waits_for_the_reader_and_says_so_afterwards(steps: Partner) -> None:
    step(1, times=6)
    relay_all()
    Subscription.objects.exclude(name="steps").update(position=6)
    assert purge_once(retention=dt.timedelta(0)) == 0
    assert acknowledge(steps, 4) == 200
    assert purge_once(retention=dt.timedelta(0)) == 4
    answer = steps.get("/feeds/steps", after=3)
    assert problem(answer) == (410, "purged")
    assert "without `after`" in read(answer)["detail"]
    assert positions(page(steps)) == positions(page(steps, after=4)) == [5, 6]


# --- people -----------------------------------------------------------------------------------------


def test_a_paused_feed_says_so_and_still_takes_acknowledgements(steps: Partner) -> None:
    step(1, times=2)
    relay_all()
    subscriptions.set_paused(name="steps", paused=True, actor="eva", reason="stocktaking")
    answer = steps.get("/feeds/steps")
    assert problem(answer) == (503, "paused")
    assert int(answer["Retry-After"]) > 0
    assert acknowledge(steps, 1) == 200
    subscriptions.set_paused(name="steps", paused=False, actor="eva", reason="done")
    assert positions(page(steps)) == [2]


def test_a_replay_serves_the_same_again(steps: Partner) -> None:
    step(1, times=4)
    relay_all()
    before = page(steps)
    assert acknowledge(steps, 4) == 200
    subscriptions.replay(name="steps", position=1, actor="eva", reason="their disk died")
    assert page(steps) == before
    assert acknowledge(steps, 4) == 200


def test_a_new_feed_starts_where_it_says() -> None:
    step(1, times=3)
    relay_all()
    with offered("from-now", start="now"), offered("from-the-beginning"):
        assert Subscription.objects.get(name="from-now").position == 3
        assert Subscription.objects.get(name="from-the-beginning").position == 0


def test_no_loop_feeds_a_feed(steps: Partner) -> None:
    assert not [spec for spec in registry.loops() if "warehouse" in spec.name]
    with pytest.raises(LookupError):
        dispatch_once("steps")


def test_a_name_is_taken_once(steps: Partner) -> None:
    with pytest.raises(ImproperlyConfigured, match="'steps'"):
        registry.feed("steps", Stepped)
    with pytest.raises(ImproperlyConfigured, match="'order-process'"):
        registry.feed("order-process", Stepped)
    with pytest.raises(ImproperlyConfigured, match="'steps'"), subscribed("steps"):
        pass


# --- who may ----------------------------------------------------------------------------------------


def test_who_may_not(steps: Partner) -> None:
    step(1)
    relay_all()
    other = Partner("warehouse")
    number, _, secret = steps.token.partition(".")
    for token, expected in {
        "": (401, "token_missing"),
        "nonsense": (401, "token_invalid"),
        f"{number}.{secret[::-1]}": (401, "token_invalid"),
        f"{int(number) + 1000}.{secret}": (401, "token_invalid"),
        f"{number}.{secret} ": (401, "token_missing"),
        other.token: (403, "wrong_scope"),
    }.items():
        stranger = Partner("steps", token=token)
        for answer in (stranger.get("/feeds/steps"), stranger.post("/feeds/steps/ack", {"through": 1})):
            assert problem(answer) == expected
            assert answer["WWW-Authenticate"].startswith("Bearer")
    assert cursor() == 0


def test_a_revoked_token_is_none(steps: Partner) -> None:
    assert steps.get("/feeds/steps").status_code == 200
    assert feed_tokens.revoke(feed="steps", name="partner")
    assert problem(steps.get("/feeds/steps")) == (401, "token_invalid")
    assert not feed_tokens.revoke(feed="steps", name="partner")


def test_only_hashes_are_kept_and_use_is_noted_to_the_minute(steps: Partner) -> None:
    row = FeedToken.objects.get()
    assert steps.token.partition(".")[2] not in str(FeedToken.objects.values().get())
    assert row.last_used_at is None
    steps.get("/feeds/steps")
    first = FeedToken.objects.get().last_used_at
    assert first is not None
    steps.get("/feeds/steps")
    assert FeedToken.objects.get().last_used_at == first
    FeedToken.objects.update(last_used_at=timezone.now() - dt.timedelta(minutes=2))
    steps.get("/feeds/steps")
    now = FeedToken.objects.get().last_used_at
    assert now is not None
    assert now >= first


def test_a_feed_that_is_no_longer_offered() -> None:
    with offered("steps") as partner:
        pass
    assert problem(partner.get("/feeds/steps")) == (404, "unknown_feed")
    assert problem(partner.post("/feeds/steps/ack", {"through": 0})) == (404, "unknown_feed")


def test_neither_session_nor_cookie(steps: Partner) -> None:
    for answer in (steps.get("/feeds/steps"), steps.post("/feeds/steps/ack", {"through": 0})):
        assert answer.status_code == 200
        assert not answer.cookies
        assert answer["Cache-Control"] == "no-store"
        assert "Cookie" not in answer.get("Vary", "")
    assert not Session.objects.exists()


def test_other_methods(steps: Partner) -> None:
    assert problem(steps.post("/feeds/steps", {})) == (405, "method_not_allowed")
    answer = steps.get("/feeds/steps/ack")
    assert problem(answer) == (405, "method_not_allowed")
    assert answer["Allow"] == "POST"


def test_while_the_database_is_away(steps: Partner) -> None:
    before = {name: connection.settings_dict[name] for name in ("HOST", "PORT")}
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT="9")
    try:
        answer = steps.get("/feeds/steps")
        assert problem(answer) == (503, "unavailable")
        assert int(answer["Retry-After"]) > 0
    finally:
        connection.close()
        connection.settings_dict.update(before)
    assert steps.get("/feeds/steps").status_code == 200


# --- the command ------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(steps: Partner, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("feed_token", "create", "steps", "wms")
    shown = capsys.readouterr()
    partner = Partner("steps", token=shown.out.strip())
    assert partner.get("/feeds/steps").status_code == 200
    with pytest.raises(CommandError, match="'wms'"):
        call_command("feed_token", "create", "steps", "wms")
    call_command("feed_token", "create", "steps", "wms", "--replace")
    assert problem(partner.get("/feeds/steps")) == (401, "token_invalid")
    again = Partner("steps", token=capsys.readouterr().out.strip())
    assert again.get("/feeds/steps").status_code == 200
    call_command("feed_token", "list", "steps")
    listed = capsys.readouterr().out
    assert listed.count("wms") == 2
    assert again.token.partition(".")[2] not in listed
    call_command("feed_token", "revoke", "steps", "wms")
    assert problem(again.get("/feeds/steps")) == (401, "token_invalid")
    with pytest.raises(CommandError, match="no live token"):
        call_command("feed_token", "revoke", "steps", "wms")
    with pytest.raises(CommandError, match="Known: steps, warehouse"):
        call_command("feed_token", "create", "stpes", "wms")
