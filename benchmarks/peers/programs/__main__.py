"""A program in Python: `python -m benchmarks.peers.programs PEER TASK ARGUMENTS`, as the package says."""

import importlib
import json
import os
import sys

from benchmarks.peers.programs import telling


def main() -> None:
    _, peer, task, arguments = sys.argv
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.programs.django_project"  # not the store's
    program = importlib.import_module(f"benchmarks.peers.programs.{peer}")
    work = getattr(program, task)(**json.loads(arguments))
    telling.run(work, finish=getattr(program, "finish", lambda: None))


if __name__ == "__main__":
    main()
