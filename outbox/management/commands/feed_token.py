import json
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from rich.console import Console
from rich.table import Table

from outbox import feed_tokens
from outbox.feeds import UnknownFeed
from outbox.management.commanding import UNUSABLE, StoreCommand
from outbox.models import FeedToken


class Command(StoreCommand):
    help = "Make, list and revoke the tokens with which readers outside, such as a warehouse, use a feed."
    exit_codes: ClassVar = {0: "done", 1: "it could not be done, as the message says; nothing was changed"}
    examples = ("create warehouse 'main warehouse' > token", "list", "revoke warehouse 'main warehouse'")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, help="what to do; each has a --help")
        create = actions.add_parser("create", help="make a token; it is shown this once and kept only as a hash")
        create.add_argument("feed", help="such as warehouse")
        create.add_argument("name", help="whose it is, such as the system that will use it; no person's name")
        create.add_argument("--replace", action="store_true", help="revoke the live token of that name")
        listing = actions.add_parser("list", help="show all tokens, without their secrets")
        listing.add_argument("feed", nargs="?", help="only of this feed")
        listing.add_argument("--json", action="store_true", help="print them as JSON")
        revoke = actions.add_parser("revoke", help="end a token at once")
        revoke.add_argument("feed", help="such as warehouse")
        revoke.add_argument("name", help="whose token")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        match action:
            case "create":
                self._create(**options)
            case "list":
                self._list(options["feed"], as_json=options["json"])
            case "revoke":
                self._revoke(options["feed"], options["name"])

    def _create(self, *, feed: str, name: str, replace: bool, **_: Any) -> None:
        if not name.isprintable() or not 0 < len(name) <= 100:
            raise CommandError("A name has 1 to 100 printable characters.", returncode=UNUSABLE)
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

    def _list(self, feed: str | None, *, as_json: bool) -> None:
        every = FeedToken.objects.order_by("feed", "name", "pk")
        tokens = every.filter(feed=feed) if feed else every
        if as_json:
            fields = ("feed", "name", "created_at", "last_used_at", "revoked_at")
            self.stdout.write(json.dumps(list(tokens.values(*fields)), indent=2, cls=DjangoJSONEncoder))
        else:
            _show(tokens)


def _show(tokens: QuerySet[FeedToken]) -> None:
    table = Table(box=None)
    for column in ("feed", "name", "created", "last used", "revoked"):
        table.add_column(column)
    for each in tokens:
        times = (each.created_at, each.last_used_at, each.revoked_at)
        table.add_row(each.feed, each.name, *("–" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times))
    Console(highlight=False).print(table)
