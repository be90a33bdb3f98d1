"""What can be verified about our account at Stripe before it goes live, and what cannot.

Only reads, and requests that are refused because they are incomplete: no money moves and nothing is created. Shapes:
docs.stripe.com/api/accounts, /api/webhook_endpoints, /api/country_specs; docs.stripe.com/keys.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from outbox.going_live import Reply, Statement, clock, note, right, unasked, wrong
from payments.gateways.notices import TYPES

# A signing secret as Stripe writes them: 32 letters and digits; the length itself is not promised.
_SIGNING_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]{24,}\Z")
_PERMISSION = re.compile(r"rak_\w+")
# What the store reads (the workers, the catching-up with missed webhooks, check_money) …
_READS = {
    "payments": "/v1/payment_intents",
    "refunds": "/v1/refunds",
    "disputes": "/v1/disputes",
    "events": "/v1/events",
}
# … and writes. Sent without any parameter, each is refused for what is missing before anything happens.
_WRITES = {"payments": "/v1/payment_intents", "refunds": "/v1/refunds"}


class Bank(Protocol):
    def ask(self, method: Literal["get", "post"], path: str, **params: Any) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """How the store is set up. `live`: it is meant to move real money. `webhook_url` is its own address for webhooks;
    `last_webhook` when one last came that a signing secret verified, None for never or not known."""

    secret_key: str
    publishable_key: str
    signing_secrets: Sequence[str]
    webhook_url: str
    currency: str
    api_version: str
    live: bool
    last_webhook: dt.datetime | None


def examine(ours: Configured, *, connect: Callable[[str], Bank]) -> Iterator[Statement]:
    """Everything, most important first. `connect` makes the adapter with a key. Ends early where nothing further can
    be asked."""
    yield from _signing_secrets(ours)
    yield from _keys(ours)
    if not ours.secret_key.startswith(("sk_", "rk_")):
        return
    bank = connect(ours.secret_key)
    account = bank.ask("get", "/v1/account")
    if account.unauthorized:
        yield wrong(
            "secret key",
            f"Stripe refuses STRIPE_SECRET_KEY: {account.problem}",
            "Copy the key again from the Dashboard (Developers, API keys); a revoked or expired one must be replaced.",
        )
        return
    if account.unreached:
        yield unasked(
            "Stripe",
            f"Stripe could not be asked: {account.problem or 'no usable answer'}",
            "See that this machine reaches STRIPE_API_BASE, and status.stripe.com; then run this again.",
        )
        return
    yield right("secret key", "Stripe accepts STRIPE_SECRET_KEY.")
    yield clock(account, provider="Stripe")
    yield _version(ours, account)
    yield from _account(ours, account, bank)
    yield from _permissions(ours, bank)
    yield from _publishable(ours, bank, connect)
    yield from _endpoint(ours, bank)


# --- what the settings alone tell ---------------------------------------------------------------


def _keys(ours: Configured) -> Iterator[Statement]:
    for name, about, key, prefixes in (
        ("STRIPE_SECRET_KEY", "secret key", ours.secret_key, ("sk", "rk")),
        ("STRIPE_PUBLISHABLE_KEY", "publishable key", ours.publishable_key, ("pk",)),
    ):
        mode = re.match(rf"(?:{'|'.join(prefixes)})_(live|test)_", key)
        begins = " or ".join(f"{each}_{'live' if ours.live else 'test'}_" for each in prefixes)
        if not key:
            yield wrong(about, f"{name} is not set.", f"Set it to the key that begins with {begins}.")
        elif mode is None:
            yield wrong(
                about,
                f"{name} is no {about}: it begins with {key.partition('_')[0][:8]}_.",
                f"Set it to the key that begins with {begins}.",
            )
        elif ours.live and mode[1] == "test":
            yield wrong(
                about,
                f"{name} is a test key, and this is meant to be a live store: orders are taken, nobody is charged.",
                f"Set it to the key that begins with {begins}, or say --expect test.",
            )
        elif not ours.live and mode[1] == "live":
            yield wrong(
                about,
                f"{name} is a live key, and this store is not meant to move real money.",
                f"Set it to the key that begins with {begins}, or say --expect live.",
            )
        else:
            yield right(about, f"{name} is a {mode[1]}-mode key, as it should be.")


def _signing_secrets(ours: Configured) -> Iterator[Statement]:
    about = "signing secret"
    todo = "Copy it from the endpoint's page in the Dashboard (Developers, Webhooks, Signing secret)."
    if not ours.signing_secrets:
        yield wrong(about, "STRIPE_WEBHOOK_SECRET is not set: every webhook is refused.", todo)
    for number, secret in enumerate(ours.signing_secrets, start=1):
        which = "STRIPE_WEBHOOK_SECRET" if len(ours.signing_secrets) == 1 else f"Number {number} of them"
        if not _SIGNING_SECRET.match(secret):
            yield wrong(about, f"{which} is no signing secret: those begin with whsec_ and are longer.", todo)
    if ours.signing_secrets:
        came = (
            f"The last webhook that was verified with it came on {ours.last_webhook:%Y-%m-%d at %H:%M:%S} UTC."
            if ours.last_webhook
            else "No verified webhook has come yet: send a test event from the Dashboard and run this again."
        )
        yield note(
            about, f"Stripe shows a signing secret only once, so nobody can ask whether ours is the right one. {came}"
        )


# --- what Stripe tells --------------------------------------------------------------------------


def _version(ours: Configured, account: Reply) -> Statement:
    said = account.headers.get("stripe-version", "")
    if said == ours.api_version:
        return right("API version", f"Stripe answers as version {said}, which this store is written for.")
    return wrong(
        "API version",
        f"Stripe answers as version {said or '(not said)'}, and this store asks for {ours.api_version}.",
        "See that nothing between this store and Stripe changes its requests, and upgrade the stripe package.",
    )


def _account(ours: Configured, account: Reply, bank: Bank) -> Iterator[Statement]:
    if not account.answered:
        yield unasked(
            "account",
            f"The key may not read the account: {account.problem}",
            f"Give it the permission {_permission(account)}, or look in the Dashboard whether charges are enabled.",
        )
        return
    found = account.body
    if found.get("charges_enabled") is True:
        yield right("account", f"Account {found.get('id')} may charge.")
    else:
        yield wrong(
            "account",
            f"Account {found.get('id')} may not charge yet.",
            "Finish the account's activation in the Dashboard (Settings, Account details).",
        )
    if (card := (found.get("capabilities") or {}).get("card_payments", "active")) != "active":
        yield wrong("account", f"Its card payments are {card}.", "Activate cards in the Dashboard (Payment methods).")
    country = str(found.get("country") or "")
    spec = bank.ask("get", f"/v1/country_specs/{country}")
    charged = [str(each).upper() for each in (spec.body or {}).get("supported_payment_currencies", [])]
    if not spec.answered:
        yield unasked(
            "currency",
            f"Stripe did not say what accounts in {country} can charge: {spec.problem}",
            "Run this again, or look it up at docs.stripe.com/currencies.",
        )
    elif ours.currency in charged:
        yield right("currency", f"The account can charge in {ours.currency}.")
    else:
        yield wrong(
            "currency",
            f"An account in {country} cannot charge in {ours.currency}.",
            "Set STORE_CURRENCY to one that it can charge in (docs.stripe.com/currencies).",
        )


def _permissions(ours: Configured, bank: Bank) -> Iterator[Statement]:
    """A secret key may do everything; what a restricted one may do shows only when it tries."""
    about = "permissions"
    if ours.secret_key.startswith("sk_"):
        yield right(about, "A secret key may do everything that the store needs, and more: a restricted key is safer.")
        return
    asked = [
        *((f"read {name}", bank.ask("get", path, limit=1)) for name, path in _READS.items()),
        *((f"write {name}", bank.ask("post", path)) for name, path in _WRITES.items()),
    ]
    for name, reply in asked:
        if reply.forbidden:
            yield wrong(
                about,
                f"The restricted key may not {name}.",
                f"Give it the permission {_permission(reply)} in the Dashboard (Developers, API keys).",
            )
        elif reply.unreached:
            yield unasked(about, f"Whether the key may {name} is not known: {reply.problem}", "Run this again.")
    if not any(reply.forbidden or reply.unreached for _, reply in asked):
        yield right(about, f"The restricted key may {', '.join(name for name, _ in asked)}.")


def _publishable(ours: Configured, bank: Bank, connect: Callable[[str], Bank]) -> Iterator[Statement]:
    """Stripe says of no publishable key whose it is; but it shows a payment of ours only to our own."""
    about = "publishable key"
    if not ours.publishable_key.startswith("pk_"):
        return
    browser = connect(ours.publishable_key)
    reply = browser.ask("post", "/v1/payment_methods")  # incomplete: refused, but only after the key was looked at
    if reply.unauthorized:
        yield wrong(
            about,
            f"Stripe refuses STRIPE_PUBLISHABLE_KEY: {reply.problem}",
            "Copy it again from the Dashboard (Developers, API keys).",
        )
        return
    if reply.unreached:
        yield unasked(about, f"Stripe could not be asked about it: {reply.problem}", "Run this again.")
        return
    intents = bank.ask("get", "/v1/payment_intents", limit=1)
    latest = ((intents.body or {}).get("data") or [None])[0]
    if latest is None or not latest.get("client_secret"):
        yield note(
            about,
            "Stripe accepts it. Whether it is of the same account shows only when there is a payment to look at.",
            "Run this again after the first order.",
        )
        return
    seen = browser.ask("get", f"/v1/payment_intents/{latest['id']}", client_secret=latest["client_secret"])
    if seen.answered:
        yield right(about, "Stripe accepts it, and it is of the same account and mode as the secret key.")
    elif seen.unreached:
        yield unasked(about, f"Stripe could not be asked whose it is: {seen.problem}", "Run this again.")
    else:
        yield wrong(
            about,
            "It is of another account or mode than the secret key: Stripe does not show it our payment "
            f"({seen.problem}).",
            "Set both keys to those of one mode of one account.",
        )


def _endpoint(ours: Configured, bank: Bank) -> Iterator[Statement]:
    about = "webhook endpoint"
    reply = bank.ask("get", "/v1/webhook_endpoints", limit=100)
    if not reply.answered:
        todo = (
            f"Give the key the permission {_permission(reply)}, or look in the Dashboard (Developers, Webhooks)."
            if reply.forbidden
            else "Run this again."
        )
        yield unasked(about, f"Stripe did not list its endpoints: {reply.problem}", todo)
        return
    endpoints = reply.body.get("data", [])
    found = [each for each in endpoints if each.get("url") == ours.webhook_url]
    if not found:
        others = ", ".join(str(each.get("url")) for each in endpoints) or "none at all"
        yield wrong(
            about,
            f"Stripe has no endpoint with our address {ours.webhook_url}. It has: {others}.",
            "Add it in the Dashboard, exactly so (STORE_ADDRESS decides the beginning). Until then the store learns of "
            "everything some minutes late, from Stripe's list of events.",
        )
        return
    enabled = [each for each in found if each.get("status") == "enabled"]
    if not enabled:
        yield wrong(about, "Stripe has our endpoint, but it is disabled.", "Enable it in the Dashboard.")
        return
    if len(enabled) > len(ours.signing_secrets):
        yield wrong(
            about,
            f"Stripe has {len(enabled)} endpoints with our address, and STRIPE_WEBHOOK_SECRET has "
            f"{len(ours.signing_secrets)}: each signs with its own secret.",
            "Remove the superfluous endpoint, or add its secret, separated by a comma.",
        )
    listens = {kind for each in enabled for kind in each.get("enabled_events", [])}
    if missing := [] if "*" in listens else [kind for kind in TYPES if kind not in listens]:
        yield wrong(
            about,
            f"Our endpoint does not listen to {', '.join(missing)}.",
            "Add these events to it in the Dashboard.",
        )
    else:
        yield right(about, f"Stripe sends what the store needs to {ours.webhook_url}.")
    if superfluous := sorted(listens - {*TYPES, "*"}):
        yield note(about, f"It also listens to {', '.join(superfluous)}, which the store stores nothing of.")


def _permission(reply: Reply) -> str:
    """The permission that Stripe names in its refusal."""
    named = _PERMISSION.search(reply.problem)
    return named[0] if named else "that Stripe's answer names"
