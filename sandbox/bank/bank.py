"""The bank itself: books, ledger, what follows later, and the way back after a restart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from sandbox.agenda import Agenda
from sandbox.bank import confirmation, disputes, refunds
from sandbox.bank.books import Books, Change
from sandbox.bank.idempotency import Keys, Record
from sandbox.jsons import Json, dumps
from sandbox.ledger import Ledger
from sandbox.options import Options


class Bank:
    """Applies changes to the books, each together with one line of the ledger."""

    def __init__(self, *, options: Options, ledger: Ledger, agenda: Agenda) -> None:
        self.books = Books()
        self.keys = Keys(ttl_seconds=options.key_ttl_seconds)
        self.trail: defaultdict[str, list[int]] = defaultdict(list)
        """Intent → the numbers of the ledger's lines about it."""
        self.undelivered: dict[str, Json] = {}
        """Events whose webhook has not been accepted yet, by id."""
        self.send_webhooks: Callable[[list[Json]], None] = lambda events: None
        self._ledger = ledger
        self._agenda = agenda
        self._settle_seconds = options.settle_seconds
        self._webhooks = 1 if options.stripe_webhook_url else 0

    def change(self, *, request_id: str | None = None, key: str | None = None) -> Change:
        return Change(self.books, request_id=request_id, key=key, webhooks=self._webhooks)

    def commit(self, change: Change | None, line: Json) -> Json:
        """Apply the change and append its line; return the line, which is on the disk only once awaited."""
        if change is not None and change.objects:
            line = {**line, "objects": change.objects}
        line = self._ledger.append("bank", line)
        self.restore(line)
        self._follow(line.get("objects", []))
        return line

    async def carry_out(self, change: Change, line: Json) -> None:
        """Apply the change, wait until it is on the disk, and send its webhooks."""
        await self._ledger.durable(self.commit(change, line)["n"])
        self.send_webhooks(change.events)

    async def close_dispute(self, dispute_id: str, *, result: disputes.Result) -> Json:
        """Close a dispute as the card's bank does; return it. Raises ApiError."""
        change = self.change()
        dispute = disputes.close(change, dispute_id, result=result)
        await self.carry_out(change, {"op": "disputes.close", "intent": dispute["payment_intent"]})
        return dispute

    def restore(self, line: Json) -> None:
        """Take over one line: the one way in which the bank changes, live or from a former process."""
        objects = line.get("objects", [])
        self.books.apply(objects)
        if "intent" in line:
            self.trail[line["intent"]].append(line["n"])
        if "saved" in line:
            self.keys.save(line["key"], _record(line))
        for value in objects:
            if value["object"] == "event" and value["pending_webhooks"]:
                self.undelivered[value["id"]] = value
            elif value["object"] == "event":
                self.undelivered.pop(value["id"], None)

    def resume(self) -> None:
        """Set the timers of whatever had not settled when the former process ended."""
        for kind in ("payment_intent", "charge", "refund"):
            self._follow(self.books.tables[kind])

    def _follow(self, objects: Iterable[Json]) -> None:
        """Plan what the outside world does by itself after these changes."""
        for value in objects:
            match value["object"]:
                case "payment_intent" if confirmation.unsettled(value, self.books):
                    self._later("payment_intents.settle", value, confirmation.settle, intent=value["id"])
                case "charge" if disputes.due(value):
                    self._later("disputes.open", value, disputes.open_for, intent=value["payment_intent"])
                case "refund" if refunds.unsettled(value, self.books):
                    self._later("refunds.settle", value, refunds.settle, intent=value["payment_intent"])

    def _later(self, op: str, value: Json, effect: Callable[[Change, str], None], *, intent: str) -> None:
        async def act() -> None:
            change = self.change()
            effect(change, value["id"])
            await self.carry_out(change, {"op": op, "intent": intent})

        self._agenda.add(name=f"{op} {value['id']}", seconds=self._settle_seconds, action=act)


def _record(line: Json) -> Record:
    """Return the idempotency record that a ledger line carries."""
    return Record(
        path=line["path"],
        fingerprint=line["saved"],
        request_id=line["request"],
        status=line["status"],
        body=dumps(line["answer"]),
        saved_at=line["at"],
    )
