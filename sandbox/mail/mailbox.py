"""Accepted mails and what became of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator

from sandbox.agenda import Agenda
from sandbox.jsons import Json
from sandbox.ledger import Ledger
from sandbox.options import Options

STATUS = {
    "processed": "processed",
    "delivered": "delivered",
    "bounce": "not_delivered",
    "dropped": "not_delivered",
}
"""Event → the status that the Email Activity API shows."""


class Mailbox:
    """One message for each recipient of each accepted mail, in the order in which they were accepted.

    The mail itself stays in the ledger: a message knows the number of its line.
    """

    def __init__(self, *, options: Options, ledger: Ledger, agenda: Agenda) -> None:
        self.messages: dict[str, Json] = {}
        self.undelivered: dict[str, Json] = {}
        """Events whose webhook has not been accepted yet, by `sg_event_id`."""
        self.send_webhooks: Callable[[list[Json]], None] = lambda events: None
        self._ledger = ledger
        self._agenda = agenda
        self._settle_seconds = options.settle_seconds
        self._webhooks = options.sendgrid_webhook_url is not None

    def commit(self, line: Json) -> Json:
        """Append a line and take it over; return it. It is on the disk only once awaited."""
        if "events" in line and self._webhooks:
            line = {**line, "webhook": True}
        line = self._ledger.append("mail", line)
        self.restore(line)
        for message in line.get("messages", []):
            self._plan(message["msg_id"], self._settle_seconds)
        return line

    def accept(self, mail: Json, *, line: Json) -> Json:
        """Take a valid mail; return its ledger line with the messages and their first events."""
        message_id = secrets.token_urlsafe(16)
        messages = list(_messages(mail, message_id=message_id))
        events = [_event(_first_event(message), message) for message in messages]
        return self.commit({**line, "message_id": message_id, "mail": mail, "messages": messages, "events": events})

    def restore(self, line: Json) -> None:
        """Take over one line: the one way in which the mailbox changes, live or from a former process."""
        for message in line.get("messages", []):
            self.messages[message["msg_id"]] = {
                **message,
                "line": line["n"],
                "accepted_at": line["at"],
                "events": [],
            }
        for event in line.get("events", []):
            self.messages[event["sg_message_id"]]["events"].append(event)
            if "webhook" in line:
                self.undelivered[event["sg_event_id"]] = event
        for event_id in line.get("delivered", []):
            self.undelivered.pop(event_id, None)

    def resume(self) -> None:
        """Set the timers of whatever was under way when the former process ended."""
        for message_id in self.messages:
            self._plan(message_id, 0)

    def _plan(self, message_id: str, seconds: float) -> None:
        message = self.messages[message_id]
        if message["events"][-1]["event"] != "processed":
            return

        async def arrive() -> None:
            name = "bounce" if _mailbox_name(message) == "bounce" else "delivered"
            event = _event(name, message)
            await self._ledger.durable(self.commit({"op": "mail.settle", "events": [event]})["n"])
            self.send_webhooks([event])

        self._agenda.add(name=message_id, seconds=seconds, action=arrive)


def status(message: Json) -> str:
    """Return the message's status as the Email Activity API names it."""
    return STATUS[message["events"][-1]["event"]]


def twin_of(event: Json) -> Json:
    """Return the same event as SendGrid sometimes repeats it: under another `sg_event_id`."""
    return {**event, "sg_event_id": secrets.token_urlsafe(16)}


def _mailbox_name(message: Json) -> str:
    name: str = message["to_email"].partition("@")[0]
    return name.partition("+")[0].lower()


def _first_event(message: Json) -> str:
    return "dropped" if _mailbox_name(message) == "drop" else "processed"


def _event(name: str, message: Json) -> Json:
    """Return an event of the Event Webhook: custom arguments stand beside its own fields."""
    event: Json = {
        **message["custom_args"],
        "email": message["to_email"],
        "timestamp": int(time.time()),
        "smtp-id": f"<{message['message_id']}@sandbox>",
        "event": name,
        "category": message["categories"],
        "sg_event_id": secrets.token_urlsafe(16),
        "sg_message_id": message["msg_id"],
    }
    match name:
        case "delivered":
            event["response"] = "250 2.0.0 OK"
        case "bounce":
            event |= {
                "type": "bounce",
                "status": "5.1.1",
                "reason": "550 5.1.1 The email account does not exist.",
            }
            event["bounce_classification"] = "Invalid Address"
        case "dropped":
            event |= {"status": "5.0.0", "reason": "Bounced Address"}
    return event


def _messages(mail: Json, *, message_id: str) -> Iterator[Json]:
    for block in mail["personalizations"]:
        for kind, address in _recipients(block):
            number = secrets.token_hex(4)
            sender = block.get("from") or mail["from"]
            yield {
                "msg_id": f"{message_id}.recvd-sandbox-{number}",
                "message_id": message_id,
                "kind": kind,
                "from_email": sender["email"],
                "from_name": sender.get("name"),
                "to_email": address["email"],
                "to_name": address.get("name"),
                "subject": _subject(mail, block),
                "custom_args": {**mail.get("custom_args", {}), **block.get("custom_args", {})},
                "categories": mail.get("categories", []),
                "template_id": mail.get("template_id"),
                "dynamic_template_data": block.get("dynamic_template_data"),
                "substitutions": block.get("substitutions"),
            }


def _recipients(block: Json) -> Iterable[tuple[str, Json]]:
    return [(kind, address) for kind in ("to", "cc", "bcc") for address in block.get(kind) or []]


def _subject(mail: Json, block: Json) -> str:
    subject = block.get("subject") or mail.get("subject") or ""
    return substituted(str(subject), block.get("substitutions"))


def substituted(text: str, substitutions: Json | None) -> str:
    """Return the text with SendGrid's older substitutions made."""
    for tag, value in (substitutions or {}).items():
        text = text.replace(tag, str(value))
    return text
