"""A process that is measured: prepares its task, says `ready`, waits for `go`, and tells as JSON what it did.

    python -m benchmarks.child TASK ARGUMENTS

`benchmarks.children` starts it. Times are of the machine's monotonic clock, which all processes share.
"""

import gc
import json
import sys
import time

import django

# Tasks of a process that `run_workers` would make ready: garbage is not looked for in what was loaded.
WORKERS = frozenset({"relay", "read", "handle", "listen", "pay", "drain", "run_group"})
# Tasks of a process that gunicorn would make ready: its statements are planned once.
PAGES = frozenset({"place", "flow"})


def main() -> int:
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    django.setup()
    from benchmarks import tasks, tasks_pages, tasks_work  # models: only now
    from outbox import prepared

    if name in PAGES:
        prepared.plan_once()
    work = (tasks.TASKS | tasks_pages.TASKS | tasks_work.TASKS)[name](**arguments)
    if name in WORKERS:
        gc.freeze()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline() != "go\n":
        return 1  # whoever measures is gone
    cpu, began = time.process_time(), time.monotonic()
    done = work()
    ended = time.monotonic()
    told = {
        "items": done.items,
        "finished": done.finished,
        "notes": done.notes,
        "began": began,
        "ended": ended,
        "cpu": time.process_time() - cpu,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
