"""Whether orders and events cost much more than they did, beside what PostgreSQL itself needs in the same run.

    python -m benchmarks.guard                 (make bench-guard)
    python -m benchmarks.guard --write         (floors.json anew, after a change that is meant)

What is compared is processors' time, client and server together, which a busy machine distorts less than the clock.
A ratio that is below its floor is measured again, up to three times: only a loss that is large and comes back fails.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg

from benchmarks import measurements
from benchmarks.children import ChildFailed, Measured
from benchmarks.limits import LimitFailed
from benchmarks.measure_log import ALL
from benchmarks.measurements import Sizes, WrongResult
from benchmarks.server import NotDurable, Server, running
from shop.local.postgres import PostgresError

FLOORS = Path(__file__).with_name("floors.json")
# The share of what was measured below which a ratio is a loss: more than any machine has been seen to distort it.
SHARE = 0.5
TRIES = 3
# Measurement and limit. Reading has none of its own: a delete is as good a measure of the machine as any.
COMPARED = {"place": "place-limit", "relay": "relay-limit", "read-one": "relay-limit"}
# Large enough that a processor's time, counted in hundredths of a second, is known to a tenth.
SIZES = Sizes(products=60, placing=2.0, records=150_000, read=20_000, orders=10, patience=60.0)


class Unseen(Exception):
    """The server's processes are not on this machine: nobody knows what they used."""


def ratios(server: Server, sizes: Sizes, names: frozenset[str]) -> dict[str, float]:
    """What an item costs PostgreSQL alone, as a share of what it costs us. Raises Unseen, WrongResult and others."""
    makers = {each.name: each.make for each in ALL}
    costs = {name: _cost(makers[name](server, sizes, 1).measured) for name in sorted(names | _limits(names))}
    return {name: costs[COMPARED[name]] / costs[name] for name in names}


def losses(server: Server, sizes: Sizes, floors: Mapping[str, float]) -> dict[str, list[float]]:
    """The ratios that stayed below their floor in every try, with all tries."""
    tries: dict[str, list[float]] = {name: [] for name in floors}
    below = frozenset(floors)
    for _ in range(TRIES):
        for name, ratio in ratios(server, sizes, below).items():
            tries[name].append(ratio)
        below = frozenset(name for name in below if tries[name][-1] < floors[name])
        if not below:
            break
    return {name: tries[name] for name in sorted(below)}


def _limits(names: frozenset[str]) -> frozenset[str]:
    return frozenset(COMPARED[name] for name in names)


def _cost(measured: Measured) -> float:
    """Seconds of processors for one item."""
    if measured.server_cpu is None:
        raise Unseen("The database's server is on another machine, or cannot be looked at.")
    if not measured.finished:
        raise WrongResult("A drain was cut short by its time limit.")
    return (measured.client_cpu + measured.server_cpu) / measured.items


def main() -> int:
    """0: nothing lost, or written; 1: a loss; 2: it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="measure, and write half of it as the floors")
    options = parser.parse_args()
    try:
        with running() as server:
            try:
                measurements.prepare(server, SIZES)
                if options.write:
                    return _write(ratios(server, SIZES, frozenset(COMPARED)))
                floors: dict[str, float] = json.loads(FLOORS.read_text())
                lost = losses(server, SIZES, floors)
            finally:
                measurements.remove(server)
    except (PostgresError, psycopg.Error, NotDurable, ChildFailed, LimitFailed, WrongResult, Unseen) as error:
        return _say(f"Nothing was measured: {error}", 2)
    for name, tries in lost.items():
        seen = ", ".join(f"{each:.4f}" for each in tries)
        _say(f"{name}: {seen} of {COMPARED[name]} by processors' time, at least {floors[name]} is wanted", 1)
    if lost:
        return _say("A large loss, each time it was measured.", 1)
    return _say("Orders, relay and readers cost no more than twice what they did.", 0)


def _write(found: Mapping[str, float]) -> int:
    FLOORS.write_text(json.dumps({name: round(found[name] * SHARE, 4) for name in COMPARED}, indent=1) + "\n")
    return _say(", ".join(f"{name} {ratio:.4f}" for name, ratio in found.items()), 0)


def _say(what: str, status: int) -> int:
    (sys.stderr if status else sys.stdout).write(what + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
