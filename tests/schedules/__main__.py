"""Every order of events: all interleavings of a few actors of the store at its crash points, on a real PostgreSQL.

Exit status 0: nothing is violated. 1: something is; its schedule and the command that plays it again are printed.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import django

from shop.local.environment import Secrets, store_environment
from tests.schedules.database import database, server


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--config", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument("--seconds", type=float, default=180.0, help="for all of them together (%(default)g)")
    parser.add_argument("--replay", metavar="A,B,…", help="play this schedule of the one --config")
    parser.add_argument("--without", metavar="SAFEGUARD", help="take canceling or reading-back out of the store first")
    options = parser.parse_args(arguments)
    if options.replay is not None and len(options.config) != 1:
        parser.error("--replay needs one --config: a schedule belongs to a configuration")
    with server() as address:
        _configure(address)
        with database():
            from tests.schedules.running import Unknown, run  # models: only once the settings are loaded

            try:
                return run(
                    names=options.config,
                    seconds=options.seconds,
                    schedule=None if options.replay is None else tuple(filter(None, options.replay.split(","))),
                    without=options.without,
                )
            except Unknown as error:
                parser.error(str(error))


def _configure(address: str) -> None:
    os.environ.update(
        store_environment(
            secrets=Secrets.fresh(),
            database_url=address,
            store_address="http://127.0.0.1:8000",
            sandbox_address="http://bank.test",
            sendgrid_public_key="",
        ),
        SCREENING_ABOVE="0",
        DOORBELL_DIR="off",  # nobody sleeps here
        DJANGO_SETTINGS_MODULE="shop.settings",
    )
    django.setup()
    logging.disable(logging.CRITICAL)  # refusals and lost claims are what is looked for: thousands of them


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
