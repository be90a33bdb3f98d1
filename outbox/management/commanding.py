"""What every command of the store has: a help that says what its exit codes mean, and a clean end after Ctrl-C or
when the database is away."""

import argparse
from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import Error

from outbox.database import advice

# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130
# Arguments that cannot be meant, and a database that cannot be used: nothing was done.
UNUSABLE = 2
# The tag of the system checks about settings. Django's own are about the code, which is what it was when it was made.
SETTINGS = "settings"


class StoreCommand(BaseCommand):
    """`exit_codes` and `examples` (arguments only) stand at the end of the help."""

    requires_system_checks = [SETTINGS]
    exit_codes: ClassVar[Mapping[int, str]] = {0: "done"}
    examples: ClassVar[tuple[str, ...]] = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, formatter_class=_Help, epilog=self._epilog(subcommand), **kwargs
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As every command, but what a person can repair or has asked for ends in a sentence, not in a traceback."""
        try:
            return super().execute(*args, **options)
        except Error as error:
            raise CommandError(
                f"The database could not be used: {str(error).strip()}\n{advice(error)}",
                returncode=UNUSABLE,
            ) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None

    def _epilog(self, subcommand: str) -> str:
        codes = {
            UNUSABLE: "wrong arguments, or the database could not be used",
            INTERRUPTED: "ended by Ctrl-C",
            **self.exit_codes,
        }
        lines = ["exit codes:", *(f"  {code:>3}  {meaning}" for code, meaning in sorted(codes.items()))]
        if self.examples:
            lines += ["", "examples:", *(f"  python manage.py {subcommand} {each}".rstrip() for each in self.examples)]
        return "\n".join(lines)


class _Help(DjangoHelpFormatter):
    """Keeps the lines of the epilog, and fills the description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("exit codes:") else super()._fill_text(text, width, indent)


def positive(text: str) -> int:
    """An argument that must be a whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def seconds(text: str) -> float:
    """An argument that is a time: a number above 0, and finite."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def percent(text: str) -> float:
    """An argument from 0 to 100."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return number
