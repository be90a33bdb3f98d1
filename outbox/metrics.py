"""Metrics for Prometheus.

What the database knows (depths, ages, heartbeats, the books' verdict) is read when it is asked for, by any process, and
is the same everywhere: `/metrics` of the web server. What only a process knows (its calls and steps) is counted in that
process and served by it: `run_workers --metrics-port`.
"""

from collections.abc import Iterator

from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from outbox.audit import last_run
from outbox.pipeline import Survey, survey

# What only this process knows.
PROCESS = CollectorRegistry()

CALLS = Counter(
    "store_calls", "Calls to the outside world, by how they ended.", ["worker", "outcome"], registry=PROCESS
)
# Seconds. A call to the bank takes a tenth to some tenths; its deadline is 15.
CALL_SECONDS = Histogram(
    "store_call_seconds",
    "How long calls took.",
    ["worker"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 15.0),
    registry=PROCESS,
)
ITEMS = Counter("store_loop_items", "Rows and events that the loops have moved.", ["loop"], registry=PROCESS)
FAILURES = Counter("store_loop_failures", "Steps of the loops that ended in an error.", ["loop"], registry=PROCESS)


class StoreCollector(Collector):
    """Reads the database once for each scrape."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = survey()
        yield from _pipeline(found)
        yield from _processes(found)
        yield from _books()


def of_the_store() -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(StoreCollector())
    return generate_latest(registry)


def _pipeline(found: Survey) -> Iterator[GaugeMetricFamily]:
    labels = ["place", "state", "waits_for"]
    depth = GaugeMetricFamily("store_pipeline_depth", "Things that stand there.", labels=labels)
    age = GaugeMetricFamily("store_pipeline_oldest_seconds", "Age of the oldest of them.", labels=labels)
    for each in found.depths:
        values = [each.place, each.state, str(each.waits_for)]
        depth.add_metric(values, each.count)
        if each.age is not None:
            age.add_metric(values, each.age.total_seconds())
    yield depth
    yield age
    rate = GaugeMetricFamily("store_events_last_minute", "Events published in the last minute.", labels=["type"])
    for name, count in found.rates.items():
        rate.add_metric([name], count)
    yield rate


def _processes(found: Survey) -> Iterator[GaugeMetricFamily]:
    beat = GaugeMetricFamily(
        "store_heartbeat_age_seconds", "Since the last heartbeat of a loop.", labels=["loop", "process"]
    )
    for each in found.beats:
        beat.add_metric([each.loop, each.process], each.age.total_seconds())
    yield beat
    warnings = GaugeMetricFamily("store_warnings", "Sentences that pipeline_status would warn with.")
    warnings.add_metric([], len(found.warnings))
    yield warnings


def _books() -> Iterator[GaugeMetricFamily]:
    """The last scheduled check; nothing before the first one."""
    last = last_run()
    if last is None:
        return
    for name, text, value in (
        ("differences", "Differences that the last check of the books found.", last.differences),
        ("unreadable", "Sources that it could not read.", last.unreadable),
        ("age_seconds", "Since that check.", (timezone.now() - last.finished_at).total_seconds()),
    ):
        family = GaugeMetricFamily(f"store_books_{name}", text)
        family.add_metric([], value)
        yield family
