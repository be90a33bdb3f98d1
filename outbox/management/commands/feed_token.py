from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from outbox import feed_tokens
from outbox.feeds import UnknownFeed
from outbox.models import FeedToken


class Command(BaseCommand):
    help = "Make, list and revoke the tokens with which readers outside use a feed."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a token; it is shown this once and kept only as a hash")
        create.add_argument("feed")
        create.add_argument("name", help="whose it is, such as the system that will use it; no person's name")
        create.add_argument("--replace", action="store_true", help="revoke the live token of that name")
        listing = actions.add_parser("list", help="show all tokens, without their secrets")
        listing.add_argument("feed", nargs="?")
        revoke = actions.add_parser("revoke", help="end a token at once")
        revoke.add_argument("feed")
        revoke.add_argument("name")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        match action:
            case "create":
                self._create(**options)
            case "list":
                _list(options["feed"])
            case "revoke":
                self._revoke(options["feed"], options["name"])

    def _create(self, *, feed: str, name: str, replace: bool, **_: Any) -> None:
        if not name.isprintable() or not 0 < len(name) <= 100:
            raise CommandError("A name has 1 to 100 printable characters.")
        try:
            token = feed_tokens.create(feed=feed, name=name, replace=replace)
        except (UnknownFeed, feed_tokens.NameTaken) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(token)  # and nothing else, for `> file`
        self.stderr.write("This is the only time it is shown.")

    def _revoke(self, feed: str, name: str) -> None:
        if not feed_tokens.revoke(feed=feed, name=name):
            raise CommandError(f"{feed} has no live token called {name!r}: see `feed_token list`.")
        self.stdout.write(f"{name} can no longer use {feed}.")


def _list(feed: str | None) -> None:
    tokens = FeedToken.objects.order_by("feed", "name", "pk")
    table = Table(box=None)
    for column in ("feed", "name", "created", "last used", "revoked"):
        table.add_column(column)
    for each in tokens.filter(feed=feed) if feed else tokens:
        times = (each.created_at, each.last_used_at, each.revoked_at)
        table.add_row(each.feed, each.name, *("–" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times))
    Console(highlight=False).print(table)
