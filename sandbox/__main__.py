"""`python -m sandbox --data DIR`: run the outside world in this process until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from sandbox.ledger import LedgerError
from sandbox.options import Options
from sandbox.server import PortInUseError, Sandbox

EXIT_FAILED = 1
EXIT_CANNOT_START = 2


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the ledgers")
    parser.add_argument("--host", default=Options.host)
    parser.add_argument("--port", type=int, default=Options.port, help="0: any free port")
    parser.add_argument("--control-port", type=int, default=Options.control_port, help="0: any free port")
    parser.add_argument("--stripe-webhook-url", metavar="URL")
    parser.add_argument("--stripe-webhook-secret", metavar="SECRET", help="whsec_…")
    parser.add_argument("--sendgrid-webhook-url", metavar="URL")
    parser.add_argument("--key-ttl-seconds", type=float, default=Options.key_ttl_seconds)
    parser.add_argument("--settle-seconds", type=float, default=Options.settle_seconds)
    parser.add_argument("--screening-seconds", type=float, default=Options.screening_seconds)
    parser.add_argument("--rate-limit", type=int, metavar="N", help="requests a second to the bank")
    values = vars(parser.parse_args(arguments))
    if values["stripe_webhook_url"] and not values["stripe_webhook_secret"]:
        parser.error("--stripe-webhook-url needs --stripe-webhook-secret")
    return Options(**values)


async def _run(options: Options) -> None:
    await Sandbox(options).run()


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 stopped, 1 failed while running, 2 could not start."""
    try:
        asyncio.run(_run(_options(arguments)))
    except (PortInUseError, LedgerError) as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CANNOT_START
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
