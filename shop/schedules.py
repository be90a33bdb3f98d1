"""What the scheduler (django-q2) runs, and how often. It only looks at the clock: who owns which piece of work
is decided by the rows and cursors, so a task that runs twice, or beside the workers, does no harm.

The scheduler looks every 30 seconds; cron's minute is the finest step that makes sense.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.utils.module_loading import import_string

from outbox.audit import audit, checks, record_run
from outbox.purging import purge_once
from outbox.sweep import sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    name: str
    function: str
    cron: str


TASKS = (
    Task(name="sweep", function="shop.schedules.run_sweep", cron="* * * * *"),
    Task(name="purge", function="shop.schedules.run_purge", cron="17 3 * * *"),
    Task(name="bank-events", function="payments.bank_events.catch_up", cron="*/5 * * * *"),
    Task(name="books", function="shop.schedules.check_books", cron="37 * * * *"),
    Task(name="reconciliation", function="payments.reconciliation.reconcile_recent", cron="7 * * * *"),
    Task(name="sessions", function="shop.schedules.clear_sessions", cron="43 3 * * *"),
    Task(name="tries", function="shop.limits.forget", cron="29 * * * *"),
)


def run_sweep() -> int:
    """Every loop in turn, so that the store makes progress with no worker running."""
    return sweep()


# One batch each, and how many rows that were. By name: some of them stand above this app.
PURGES = (
    "shop.schedules.purge_log",
    "payments.bank_events.purge",
    "notifications.mail_events.purge",
    "outbox.purging.forget_dead_processes",
)


def run_purge() -> int:
    """All that has been delivered or applied and is older than the retention, and who died long ago."""
    total = 0
    for name in PURGES:
        while purged := import_string(name)():
            total += purged
    return total


def purge_log() -> int:
    return purge_once(retention=dt.timedelta(days=settings.OUTBOX_RETENTION_DAYS))


def check_books() -> int:
    """What must hold at any moment, checked from outside; the number of differences. The verdict is a row, for metrics
    and admin."""
    return record_run(audit(checks(always_only=True))).differences


def clear_sessions() -> None:
    """Delete the sessions, and carts, of shoppers who have not been here for as long as their cookie lives."""
    SessionStore.clear_expired()


def ensure_all(**_: Any) -> None:
    """Create or correct the schedules' rows; an operator's own additions are left alone."""
    from django_q.models import Schedule

    if Schedule._meta.db_table not in connection.introspection.table_names():
        return  # django-q2's own migrations come later in this run
    for task in TASKS:
        Schedule.objects.update_or_create(
            name=task.name,
            defaults={"func": task.function, "schedule_type": Schedule.CRON, "cron": task.cron},
        )
