"""The peers, and how each is configured. What a peer does stands in `programs/`."""

from dataclasses import dataclass

from benchmarks.peers import brokers, installing

PROGRAMS = "benchmarks.peers.programs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """`jobs` are those of a usual drain: some seconds of work. `left` counts what is not done, `done` what is, where
    the peer keeps that; `broker` is a server beside the database that counts what is left there. `program` is the file
    for Node or the module in Python."""

    name: str
    settings: str
    jobs: int
    program: str
    left: str = ""
    done: str = ""
    broker: brokers.Serving | None = None
    processes: int = 2

    @property
    def version(self) -> str:
        return installing.version(self.name)

    def command(self) -> tuple[str, ...]:
        """Raises installing.Missing."""
        if self.program.endswith(".cjs"):
            return (str(installing.node()), str(installing.HERE / "programs" / self.program))
        interpreter = installing.brokers() if self.broker else installing.python()
        return (str(interpreter), "-m", PROGRAMS, self.program)


PEERS = (
    Peer(
        name="graphile-worker",
        settings="2 processes, 24 jobs at a time, local queue of 500, completed in batches",
        jobs=40_000,
        program="graphile_worker.cjs",
        left="SELECT count(*) FROM graphile_worker._private_jobs",
    ),
    Peer(
        name="pg-boss",
        settings="2 processes, batches of 1000, polls every 0.5 s",
        jobs=40_000,
        program="pg_boss.cjs",
        left="SELECT count(*) FROM pgboss.job WHERE name = 'noop' AND state < 'completed'",
        done="SELECT count(*) FROM pgboss.job WHERE name = 'noop' AND state = 'completed'",
    ),
    Peer(
        name="procrastinate",
        settings="2 processes, 10 jobs at a time",
        jobs=1000,
        program="procrastinate",
        left="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        done="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    ),
    Peer(
        name="django-q2",
        settings="1 cluster of 2 workers, 100 fetched at once, no successes kept, polls every 0.05 s",
        jobs=1000,
        program="django_q2",
        left="SELECT count(*) FROM django_q_ormq",
        processes=1,
    ),
    Peer(
        name="django-tasks-db",
        settings="2 processes, polls every 0.05 s",
        jobs=500,
        program="django_tasks",
        left="SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')",
        done="SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'",
    ),
    Peer(
        name="dbos",
        settings="2 processes, 200 workflows at a time, polls every 0.1 s",
        jobs=500,
        program="dbos",
        left="SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')",
        done="SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
    ),
    # Its broker is outside the database: no task is committed together with the rows that it is about.
    Peer(
        name="celery",
        settings="Redis (fsync each second); 2 workers of 1 prefork process, 64 fetched ahead, acknowledged early",
        jobs=2000,
        program="celery",
        broker=brokers.redis,
    ),
    # A record is committed with its rows; what the broker holds is as safe as the broker.
    Peer(
        name="django-outbox-pattern",
        settings="CoilMQ (in memory); 1 process that publishes, polls every 1 s, and 1 that consumes",
        jobs=1000,
        program="django_outbox_pattern",
        left="SELECT count(*) FROM published WHERE status = 1",
        done="SELECT count(*) FROM received",
        broker=brokers.coilmq,
        processes=1,
    ),
)
