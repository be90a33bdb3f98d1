"""Every benchmark once, with tiny sizes: not how fast the store is, but that what is counted has happened."""

import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from benchmarks import (
    flat,
    guard,
    limits,
    measure_bank,
    measure_log,
    measure_pages,
    measurements,
    plots,
    report,
    shopper,
    svg,
)
from benchmarks.bank import gateway
from benchmarks.children import ROOT, ChildFailed, Measured, Task, run
from benchmarks.everything import ALL
from benchmarks.measurements import QUICK, Measurement, Result, Sizes, WrongResult
from benchmarks.peers import brokers
from benchmarks.peers import measuring as peers
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.installing import Missing
from benchmarks.server import Server, running
from tests.conftest import PUBLIC_KEY

# Two dozen processes: `make bench` begins with it, and the everyday run leaves it out.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("BENCHMARKS") != "1", reason="a part of make bench"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The run's, with databases of the benchmarks' own."""
    with running() as started:
        try:
            measurements.prepare(started, QUICK)
            yield started
        finally:
            measurements.remove(started)
            peers.remove(started)


@pytest.mark.parametrize("measurement", [each for each in ALL if each.kind != "peer"], ids=lambda each: each.name)
def test_what_is_measured_has_happened(server: Server, measurement: Measurement) -> None:
    """Each compares orders, books, log and cursors with what it has counted, and raises WrongResult."""
    result = measurement.make(server, QUICK, 1)
    measured = result.measured
    assert measured.finished
    assert measured.items > 0
    assert measured.client_cpu > 0
    # The server is the whole run's: a session of another test may end while it is counted.
    assert measured.server_cpu is None or measured.server_cpu > -1
    if result.latencies:
        assert len(result.latencies) == measured.items == {"click": QUICK.clicks}.get(measurement.name, QUICK.beats)
        # A publisher that is kept waiting after its COMMIT notes the time of it late.
        assert -1000 < min(result.latencies) <= max(result.latencies) < measured.seconds * 1000
        assert (result.quantile(50) or 0) <= (result.quantile(99) or 0)
        assert result.rate is None
    else:
        assert result.rate == measured.items / measured.seconds


@pytest.fixture(params=PEERS, ids=lambda each: each.name)
def peer(request: pytest.FixtureRequest) -> Peer:
    """One that can be installed here."""
    found: Peer = request.param
    try:
        found.command()
    except Missing as error:
        pytest.skip(f"{found.name} is missing: {error}")
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["peer", "latency"])
def test_what_is_measured_of_a_peer_has_happened(server: Server, peer: Peer, what: str) -> None:
    """Jobs are counted by their handlers and in the peer's own tables."""
    measurement = next(each for each in peers.ALL if each.name == f"{what}-{peer.name}")
    result = measurement.make(server, QUICK, 1)
    assert result.missing == ""
    assert result.measured.finished
    assert result.measured.client_cpu > 0
    if what == "latency":
        assert len(result.latencies) == QUICK.peer_beats
        assert max(result.latencies) < result.measured.seconds * 1000
    else:
        assert result.measured.items == max(peers.FEWEST, peer.jobs * QUICK.peers)
        assert result.rate


def test_a_peer_that_does_not_start_is_missing_and_says_why(server: Server) -> None:
    dbos = next(each for each in PEERS if each.name == "dbos")
    nobody = replace(dbos, name="nobody", program="nobody_knows_it")
    try:
        result = peers.drain(nobody, server, QUICK, 1)
    finally:
        peers.remove(server)
    assert "nobody_knows_it" in result.missing or "could not be installed" in result.missing
    assert result.rate is None
    assert f"peer-dbos missing: {result.missing}" in shown({"peer-dbos": [result]})


def test_a_peer_whose_broker_does_not_start_is_missing_and_says_why(server: Server) -> None:
    @contextmanager
    def nobody(folder: Path) -> Iterator[brokers.Broker]:
        with brokers.running([str(folder / "nobody-knows-it")], folder) as process:
            yield brokers.Broker(url="", process=process.pid, left=lambda: 0)

    result = peers.drain(replace(PEERS[0], name="nobody", broker=nobody), server, QUICK, 1)
    assert "its broker does not start" in result.missing or "could not be installed" in result.missing
    assert result.rate is None


def test_a_history_is_loaded_once_and_measured_on_copies(server: Server) -> None:
    name = flat.kept(server, 50)
    try:
        assert "bench_kept_50_orders" in server.kept()
        with server.connect(name) as session:
            session.execute("COMMENT ON TABLE shop_order IS 'the first one'")
        assert flat.kept(server, 50) == name
        with flat.history(server, 50, name="history", keep=True) as copy, server.connect(copy) as session:
            found = session.execute(
                "SELECT obj_description('shop_order'::regclass), count(*) FROM shop_order"
            ).fetchone()
        assert found == ("the first one", 50)
        assert not server.has(copy)
        assert server.has(name)
    finally:
        server.drop(name)


def test_the_ratio_of_a_peer_is_that_of_the_same_sweep() -> None:
    sweeps = {"read-two": [made(4000, 1.0), made(900, 1.0)], "peer-dbos": [made(1000, 1.0), made(450, 1.0)]}
    assert "725 jobs 450–1,000 3.0 806" in shown(sweeps)


def test_plots_show_what_was_measured_and_nothing_else() -> None:
    sweeps = {
        "read-two": [made(4000, 1.0)],
        "peer-dbos": [made(1000, 1.0)],
        "peer-django-q2": [replace(made(1000, 1.0), missing="nobody")],
        "latency-bell": [replace(made(3, 1.0), latencies=(-0.1, 1.0, 2.0))],
        "click": [replace(made(3, 1.0), latencies=(50.0, 51.0, 52.0))],
    }
    measured = [each for each in (*ALL, *peers.ALL) if each.name in sweeps]
    numbers = report.as_json(measured, sweeps, history={"the relay": [(7000, 1.0), (70000, 1.02)]})
    drawn = plots.draw(json.loads(json.dumps(numbers)))
    assert list(drawn) == ["throughput.svg", "latency.svg", "history.svg"]
    for text in drawn.values():
        ElementTree.fromstring(text)  # noqa: S314 - our own
    assert ">dbos (jobs)<" in drawn["throughput.svg"]
    assert "django-q2" not in drawn["throughput.svg"]
    assert ">click<" not in drawn["latency.svg"]
    assert ">70,000<" in drawn["history.svg"]


def test_labels_of_lines_that_end_together_lie_apart_and_in_the_picture() -> None:
    drawn = svg.lines(
        "",
        "",
        "",
        {f"line {number}": [(0.0, 1.0), (1.0, 1.0)] for number in range(12)},
        x_ticks=[(0, "0"), (1, "1")],
    )
    texts = [each for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text") if each.text]  # noqa: S314 - our own
    at = sorted(float(each.attrib["y"]) for each in texts if str(each.text).startswith("line"))
    assert len(at) == 12
    assert all(below - above >= svg.LINE for above, below in itertools.pairwise(at))
    assert at[-1] <= svg.TOP + svg.PLOT + svg.LINE


def test_the_function_places_orders_that_are_true_to_the_books(server: Server) -> None:
    with server.copy(measurements.SEEDED) as database:
        placed = limits.place_by_function(server, database, seconds=1)
        told = subprocess.run(
            [sys.executable, "manage.py", "check_money", "--live", "--json"],
            cwd=ROOT,
            env=server.environment(database, SENDGRID_WEBHOOK_PUBLIC_KEY=PUBLIC_KEY),
            capture_output=True,
            text=True,
            check=False,
        )
    assert placed.items > 10
    books = json.loads(told.stdout)
    read = [each for each in books["checks"] if not each["unreadable"]]  # there is no bank
    assert len(read) > 5
    assert [difference for each in read for difference in each["differences"]] == []


def test_a_drain_that_is_cut_short_gets_no_number(server: Server) -> None:
    result = measure_log.relay(server, replace(QUICK, patience=0.0), 1)
    assert not result.measured.finished
    assert result.rate is None
    assert "not finished in 1 of 2" in shown({"relay": [result, made(1000, 1.0)]})


def test_payments_that_are_not_all_made_get_no_number(server: Server) -> None:
    """One more than there are: the worker has nothing left to do, and is not done."""
    result = measure_bank.charge(server, replace(QUICK, charged=QUICK.charged + 1, patience=3.0), 1, latency=0.01)
    assert not result.measured.finished
    assert result.rate is None


def test_calls_that_the_bank_was_not_asked_for_are_refused(server: Server) -> None:
    with gateway(server, latency=0.0) as bank:
        pass
    assert bank.told == {"create": 0, "confirm": 0, "other": 0, "keys": 0, "most": 0, "cpu": bank.told["cpu"]}
    with pytest.raises(WrongResult, match="create: 0 instead of 3"):
        measure_bank.expect_calls(bank, 3)


def test_a_page_is_compared_with_the_simple_view(server: Server) -> None:
    notes = measure_pages.pages(server, QUICK, 1).notes
    assert notes[f"{shopper.SIMPLE}: × simple"] == 1
    assert notes[f"{shopper.ORDER}: × simple"] > 1
    assert "checkout, POST: × simple" in shown({"pages": [replace(made(3, 1.0), notes=notes)]})


def test_a_number_for_something_else_is_refused(server: Server) -> None:
    with pytest.raises(WrongResult, match=f"deleted: {QUICK.records} instead of {QUICK.records + 2}"):
        measure_log.relay_limit(server, replace(QUICK, records=QUICK.records + 2), 1)


def test_a_process_that_fails_says_why(server: Server) -> None:
    with pytest.raises(ChildFailed, match="nobody_knows_it"):
        run(server, measurements.SEEDED, Task("nobody_knows_it"))


def test_the_guard_notices_a_slow_relay(server: Server) -> None:
    """A trigger makes each event that goes into the log cost several times as much: every try is below the floor."""
    sizes = replace(QUICK, records=80_000)
    with staged_anew(server, sizes):
        healthy = guard.ratios(server, sizes, frozenset({"relay"}))
        floors = {"relay": healthy["relay"] * guard.SHARE}
        assert guard.losses(server, sizes, floors) == {}
        with server.connect(measurements.STAGED) as session:
            session.execute(BURN)
        lost = guard.losses(server, sizes, floors)
    assert list(lost) == ["relay"]
    assert len(lost["relay"]) == guard.TRIES
    assert max(lost["relay"]) < floors["relay"]


def test_every_compared_ratio_has_a_floor() -> None:
    assert set(json.loads(guard.FLOORS.read_text())) == set(guard.COMPARED)


@contextmanager
def staged_anew(server: Server, sizes: Sizes) -> Iterator[None]:
    """So many records that their processors' time can be told."""
    try:
        measurements.stage(server, measurements.STAGED, records=sizes.records, in_log=False)
        yield
    finally:
        measurements.stage(server, measurements.STAGED, records=QUICK.records, in_log=False)


BURN = """
CREATE FUNCTION burn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sum(n) FROM generate_series(1, 500) AS n;
    RETURN NEW;
END $$;
CREATE TRIGGER burn BEFORE INSERT ON outbox_event FOR EACH ROW EXECUTE FUNCTION burn();
"""


def test_a_ratio_is_that_of_the_same_sweep() -> None:
    sweeps = {"relay-limit": [made(4000, 1.0), made(1000, 1.0)], "relay": [made(1000, 1.0), made(500, 1.0)]}
    assert "750 records 500–1,000 0.38 750" in shown(sweeps)


def made(items: int, seconds: float) -> Result:
    return Result(measured=Measured(items=items, seconds=seconds, client_cpu=seconds / 2, server_cpu=None))


def shown(sweeps: dict[str, list[Result]]) -> str:
    console = Console(file=io.StringIO(), width=200)
    measured = [each for each in (*ALL, *peers.ALL) if each.name in sweeps]
    report.show(console, measured, sweeps)
    json.dumps(report.as_json(measured, sweeps))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())
