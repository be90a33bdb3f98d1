"""Install the peers (make bench-peers). Ends with 1 where some are missing, and says why."""

import sys

from benchmarks.peers import installing


def main() -> int:
    missing = 0
    for what in (installing.node, installing.python, installing.brokers):
        try:
            told = str(what())
        except installing.Missing as error:
            told, missing = f"missing: {error}", 1
        sys.stdout.write(f"peers for {what.__name__}: {told}\n")
    return missing


if __name__ == "__main__":
    sys.exit(main())
