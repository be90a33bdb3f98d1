"""What can be verified about our account at SendGrid before it goes live, and what cannot.

Only reads: no mail is sent. Shapes: twilio.com/docs/sendgrid/api-reference (scopes, sender verification, domain
authentication, webhooks, transactional templates).
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from outbox.going_live import Reply, Statement, clock, note, right, unasked, wrong

# What settles a mail in doubt, and what tells that one did not arrive.
EVENTS = ("processed", "delivered", "bounce", "dropped", "deferred")
# Domains and templates are asked for one by one, senders in one list of at most so many.
_PAGE = "1000"


class Provider(Protocol):
    def ask(self, path: str, **params: str) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """How the store is set up. `webhook_url` is its own address for events; `last_webhook` when a verified batch last
    came, None for never or not known; `public_key_problem` says why the public key is none."""

    api_key: str
    sender: str
    public_key: str
    public_key_problem: str
    webhook_url: str
    chosen_templates: Mapping[str, str]
    known_templates: Collection[str]
    last_webhook: dt.datetime | None


def examine(ours: Configured, *, connect: Callable[[], Provider]) -> Iterator[Statement]:
    """Everything, most important first. Ends early where nothing further can be asked."""
    about = "API key"
    yield from _public_key(ours)
    if not ours.api_key.startswith("SG."):
        says = "is no key of SendGrid's: those begin with SG." if ours.api_key else "is not set."
        yield wrong(about, f"SENDGRID_API_KEY {says}", "Make one in SendGrid (Settings, API Keys) and set it.")
        return
    provider = connect()
    scopes = provider.ask("/scopes")
    if scopes.unauthorized:
        yield wrong(
            about,
            f"SendGrid refuses SENDGRID_API_KEY: {scopes.problem}",
            "Make a new key in SendGrid (Settings, API Keys) and set it.",
        )
        return
    if not scopes.answered:
        yield unasked(
            "SendGrid",
            f"SendGrid could not be asked: {scopes.problem}",
            "See that this machine reaches SENDGRID_API_BASE, and status.sendgrid.com; then run this again.",
        )
        return
    yield clock(scopes, provider="SendGrid")
    yield from _scopes(scopes.body.get("scopes", []))
    yield from _sender(ours, provider)
    yield from _webhook(ours, provider)
    yield from _templates(ours, provider)


def _scopes(scopes: Collection[str]) -> Iterator[Statement]:
    if "mail.send" in scopes:
        yield right("API key", "SendGrid accepts it, and it may send mail.")
    else:
        yield wrong("API key", "SendGrid accepts it, but it may not send mail.", "Give it the permission Mail Send.")
    if "messages.read" not in scopes:
        yield note(
            "API key",
            "It may not read the Email Activity, so check_money cannot compare the mails.",
            "Give it Email Activity if you want that (SendGrid sells the activity's history as an addition).",
        )
    if powers := [each for each in scopes if each.startswith(("api_keys.", "teammates.", "billing."))]:
        yield note(
            "API key",
            f"It may do more than the store needs ({', '.join(sorted(powers)[:3])} …).",
            "A key with restricted access does less harm in wrong hands.",
        )


def _sender(ours: Configured, provider: Provider) -> Iterator[Statement]:
    """One of the two is enough: the very address is verified, or its whole domain authenticated."""
    about = "sender"
    domain = ours.sender.rpartition("@")[2].lower()
    domains = provider.ask("/whitelabel/domains", domain=domain)
    senders = provider.ask("/verified_senders", limit=_PAGE)
    if domains.answered:
        ours_there = [each for each in domains.body if str(each.get("domain", "")).lower() == domain]
        if any(each.get("valid") for each in ours_there):
            yield right(about, f"The domain {domain} of MAIL_FROM is authenticated.")
            return
        if ours_there:
            yield note(
                about,
                f"SendGrid knows the domain {domain}, but has not found its DNS records.",
                "Enter them where the domain's DNS is kept, and press Verify in SendGrid (Sender Authentication).",
            )
    if senders.answered:
        same = [each for each in senders.body.get("results", []) if _same(each.get("from_email"), ours.sender)]
        if any(each.get("verified") for each in same):
            yield right(about, f"{ours.sender} is a verified sender.")
            if domains.answered:
                yield note(
                    about,
                    f"Its domain {domain} is not authenticated: some mailboxes refuse such mail.",
                    "Authenticate it in SendGrid (Settings, Sender Authentication).",
                )
            return
    if domains.answered and senders.answered:
        waits = "is not verified yet" if same else "is not known to SendGrid"
        yield wrong(
            about,
            f"MAIL_FROM is {ours.sender}, which {waits}, and its domain is not authenticated: mail would be refused.",
            "Authenticate the domain or verify the address in SendGrid (Settings, Sender Authentication).",
        )
    else:
        refused = " and ".join(
            what for what, reply in (("the domains", domains), ("the senders", senders)) if not reply.answered
        )
        yield unasked(
            about,
            f"SendGrid did not list {refused}: {domains.problem or senders.problem}",
            "Give the key read access to Sender Authentication, or look there yourself.",
        )


def _same(one: Any, other: str) -> bool:
    return str(one or "").lower() == other.lower()


def _public_key(ours: Configured) -> Iterator[Statement]:
    todo = "Copy it from SendGrid (Settings, Mail Settings, Event Webhooks, Signature Verification)."
    if not ours.public_key:
        yield wrong("public key", "SENDGRID_WEBHOOK_PUBLIC_KEY is not set: every event is refused.", todo)
    elif ours.public_key_problem:
        yield wrong("public key", f"SENDGRID_WEBHOOK_PUBLIC_KEY is no public key ({ours.public_key_problem}).", todo)


def _webhook(ours: Configured, provider: Provider) -> Iterator[Statement]:
    about = "event webhook"
    reply = provider.ask("/user/webhooks/event/settings/all")
    if not reply.answered:
        yield unasked(
            about,
            f"SendGrid did not list its event webhooks: {reply.problem}",
            "Give the key read access to them, or look in SendGrid (Settings, Mail Settings, Event Webhooks).",
        )
        return
    webhooks = [each for each in reply.body.get("webhooks", []) if each.get("url")]
    found = next((each for each in webhooks if each["url"] == ours.webhook_url), None)
    if found is None:
        others = ", ".join(str(each["url"]) for each in webhooks) or "none at all"
        yield wrong(
            about,
            f"SendGrid has no event webhook with our address {ours.webhook_url}. It has: {others}.",
            "Add it in SendGrid, exactly so. Until then mails in doubt wait a day and then for a person.",
        )
        return
    if not found.get("enabled"):
        yield wrong(about, "SendGrid has our event webhook, but it is off.", "Turn it on.")
    if missing := [kind for kind in EVENTS if not found.get(kind)]:
        yield wrong(about, f"It does not tell of {', '.join(missing)}.", "Tick these actions in its settings.")
    signed_with = found.get("public_key") or ""
    if not signed_with:
        yield wrong(
            about,
            "It is not signed, so the store refuses all of it.",
            "Turn Signature Verification on, and set SENDGRID_WEBHOOK_PUBLIC_KEY to the key it shows.",
        )
    elif signed_with.strip() != ours.public_key.strip():
        yield wrong(
            about,
            "It is signed with another key than SENDGRID_WEBHOOK_PUBLIC_KEY, so the store refuses all of it.",
            "Set SENDGRID_WEBHOOK_PUBLIC_KEY to the public key that SendGrid shows beside the webhook.",
        )
    elif found.get("enabled") and not missing:
        yield right(about, f"SendGrid tells {ours.webhook_url} what became of each mail, signed with our key.")
    came = (
        f"The last verified one that was about a mail of ours came on {ours.last_webhook:%Y-%m-%d at %H:%M:%S} UTC."
        if ours.last_webhook
        else "None that was about a mail of ours has come yet."
    )
    yield note(about, f"Whether its calls reach this store cannot be asked. {came}")


def _templates(ours: Configured, provider: Provider) -> Iterator[Statement]:
    about = "templates"
    if not ours.chosen_templates:
        yield right(about, "SENDGRID_TEMPLATES names none: every mail is sent as the store writes it.")
        return
    for name, template in ours.chosen_templates.items():
        if name not in ours.known_templates:
            yield wrong(
                about,
                f"SENDGRID_TEMPLATES names {name}, and the store writes no such mail.",
                f"Use one of {', '.join(sorted(ours.known_templates))}.",
            )
            continue
        reply = provider.ask(f"/templates/{template}")
        if reply.status == 404:
            yield wrong(about, f"SendGrid has no template {template} ({name}).", "Correct SENDGRID_TEMPLATES.")
        elif not reply.answered:
            yield unasked(
                about,
                f"SendGrid did not show template {template} ({name}): {reply.problem}",
                "Give the key read access to templates, or look in SendGrid (Dynamic Templates).",
            )
        elif reply.body.get("generation") != "dynamic":
            yield wrong(
                about, f"Template {template} ({name}) is a legacy one.", "Make a dynamic template (d-…) and name it."
            )
        elif not any(version.get("active") for version in reply.body.get("versions", [])):
            yield wrong(about, f"Template {template} ({name}) has no active version.", "Activate one in SendGrid.")
        else:
            yield right(about, f"Template {template} ({name}) exists and has an active version.")
