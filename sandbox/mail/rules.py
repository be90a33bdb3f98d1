"""What SendGrid refuses in a mail (docs.sendgrid.com, Mail Send: errors)."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.jsons import Json

_ADDRESS = re.compile(r"[^@\s<>\",;]{1,64}@[^@\s<>\",;]{1,255}\Z")
MAX_RECIPIENTS = 1000
MAX_CUSTOM_ARGS = 10_000
"""Bytes of all custom arguments of one personalization."""
MAX_CATEGORIES = 10
MAX_AHEAD = 72 * 3600
"""Seconds: a delivery can be scheduled 72 hours ahead."""
RESERVED_HEADERS = frozenset(
    {
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    }
)
HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."


def error(message: str, field: str | None = None) -> Json:
    anchor = None if field is None else HELP + re.sub(r"\.\d+", "", field)
    return {"message": message, "field": field, "help": anchor}


def errors_in(mail: Any) -> list[Json]:
    """Return SendGrid's errors for the body of a request; none: it is accepted."""
    if not isinstance(mail, dict):
        return [error("Bad Request")]
    found: list[Json] = []
    for rule in (_personalizations, _sender, _subject, _content, _attachments, _extras):
        found.extend(rule(mail))
    return found


def _valid(address: Any) -> bool:
    return isinstance(address, dict) and bool(_ADDRESS.match(str(address.get("email", ""))))


def _personalizations(mail: Json) -> Iterator[Json]:
    blocks = mail.get("personalizations")
    if not isinstance(blocks, list) or not blocks:
        yield error(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
        return
    if len(blocks) > MAX_RECIPIENTS:
        yield error("There is a limit of 1000 personalizations per API request.", "personalizations")
    for index, block in enumerate(blocks):
        yield from _personalization(block if isinstance(block, dict) else {}, f"personalizations.{index}")


def _personalization(block: Json, field: str) -> Iterator[Json]:
    if not isinstance(block.get("to"), list) or not block["to"]:
        yield error(
            "The to array is required for all personalization objects, and must have at least one email object "
            "with a valid email address.",
            f"{field}.to",
        )
        return
    seen: set[str] = set()
    for name in ("to", "cc", "bcc"):
        for index, address in enumerate(block.get(name) or []):
            if not _valid(address):
                yield error("Does not contain a valid address.", f"{field}.{name}.{index}.email")
                continue
            email = address["email"].lower()
            if email in seen:
                yield error(
                    "Each email address in the personalization block should be unique between to, cc, and bcc. "
                    f"We found the first duplicate instance of [{email}] in the {field}.{name} field.",
                    field,
                )
            seen.add(email)
    if len(seen) > MAX_RECIPIENTS:
        yield error("There is a limit of 1000 total recipients per personalization.", field)
    yield from _custom_args(block.get("custom_args"), f"{field}.custom_args")
    yield from _headers(block.get("headers"), f"{field}.headers")
    yield from _send_at(block.get("send_at"), f"{field}.send_at")


def _sender(mail: Json) -> Iterator[Json]:
    if not isinstance(mail.get("from"), dict):
        yield error(
            "The from object must be provided for every email send. It is an object that requires the email "
            "parameter, but may also contain a name parameter.",
            "from",
        )
    elif not _valid(mail["from"]):
        yield error("The from email does not contain a valid address.", "from.email")
    replies = [mail["reply_to"]] if "reply_to" in mail else mail.get("reply_to_list") or []
    if "reply_to" in mail and "reply_to_list" in mail:
        yield error("You must only use one of reply_to or reply_to_list.", "reply_to")
    if not all(_valid(address) for address in replies):
        yield error("The reply_to email does not contain a valid address.", "reply_to.email")


def _subject(mail: Json) -> Iterator[Json]:
    blocks = mail.get("personalizations") or []
    everywhere = blocks and all(isinstance(block, dict) and block.get("subject") for block in blocks)
    if not (mail.get("subject") or everywhere or mail.get("template_id")):
        yield error(
            "The subject is required. You can get around this requirement if you use a template with a subject "
            "defined or if every personalization has a subject defined.",
            "subject",
        )


def _content(mail: Json) -> Iterator[Json]:
    parts = mail.get("content")
    if not parts:
        if not mail.get("template_id"):
            yield error(
                "Unless a valid template_id is provided, the content parameter is required. There must be at "
                "least one defined content block. We typically suggest both text/plain and text/html blocks are "
                "included, but only one block is required.",
                "content",
            )
        return
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        yield error("The content parameter must be an array of objects.", "content")
        return
    for index, part in enumerate(parts):
        for name in ("type", "value"):
            if not isinstance(part.get(name), str) or not part[name]:
                yield error(
                    f"The content {name} must be a string at least one character in length.",
                    f"content.{index}.{name}",
                )
    types = [part.get("type") for part in parts]
    if "text/plain" in types[1:]:
        yield error("If present, text/plain must be first, followed by text/html.", "content")
    if len(set(map(str, types))) < len(types):
        yield error("If present, text/plain and text/html may only be provided once.", "content")


def _attachments(mail: Json) -> Iterator[Json]:
    for index, attachment in enumerate(mail.get("attachments") or []):
        field = f"attachments.{index}"
        try:
            base64.b64decode(attachment["content"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            yield error("The attachment content must be base64 encoded.", f"{field}.content")
        if not isinstance(attachment, dict) or not attachment.get("filename"):
            yield error("The attachment filename is required.", f"{field}.filename")


def _extras(mail: Json) -> Iterator[Json]:
    yield from _custom_args(mail.get("custom_args"), "custom_args")
    yield from _headers(mail.get("headers"), "headers")
    yield from _send_at(mail.get("send_at"), "send_at")
    categories = mail.get("categories") or []
    if len(categories) > MAX_CATEGORIES or len(set(map(str, categories))) < len(categories):
        yield error("There can be up to 10 categories, each of them unique.", "categories")
    if any(not isinstance(category, str) or len(category) > 255 for category in categories):
        yield error("Each category must be a string of at most 255 characters.", "categories")


def _custom_args(values: Any, field: str) -> Iterator[Json]:
    if values is None:
        return
    if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
        yield error("The custom_args must be an object whose values are strings.", field)
    elif sum(len(key.encode()) + len(value.encode()) for key, value in values.items()) > MAX_CUSTOM_ARGS:
        yield error("The custom_args may not exceed 10,000 bytes.", field)


def _headers(values: Any, field: str) -> Iterator[Json]:
    for name in values or {}:
        if name.lower() in RESERVED_HEADERS:
            yield error(f"The header {name} is reserved and cannot be set.", f"{field}.{name}")


def _send_at(value: Any, field: str) -> Iterator[Json]:
    if value is not None and (not isinstance(value, int) or value > time.time() + MAX_AHEAD):
        yield error("The send_at parameter must be a UNIX timestamp, at most 72 hours ahead.", field)
