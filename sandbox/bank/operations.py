"""Every call that the bank answers: name, method, path, and what it does to the books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sandbox.arrangements import Arrangements
from sandbox.bank import account, charges, disputes, intents, payment_methods, refunds
from sandbox.bank.books import Change
from sandbox.bank.lists import listing
from sandbox.bank.params import Params
from sandbox.jsons import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call. `run` gets the change to make, the parameters and the id in the path."""

    name: str
    method: str
    path: str
    run: Callable[[Change, Params, str], Json]
    publishable: bool = False
    """Whether a publishable key suffices, as from a browser."""


def _on_all(name: str, method: str, path: str, run: Callable[[Change, Params], Json]) -> Operation:
    return Operation(name=name, method=method, path=path, run=lambda change, params, _: run(change, params))


def _on_one(name: str, method: str, path: str, run: Callable[[Change, Params, str], Json]) -> Operation:
    return Operation(name=name, method=method, path=path, run=run)


def _list(name: str, kind: str, *equal: str) -> Operation:
    path = f"/v1/{name}"
    return _on_all(f"{name}.list", "GET", path, partial(listing, kind=kind, url=path, equal=equal))


def _event(change: Change, params: Params, event_id: str) -> Json:
    params.finish()
    return change.require("event", event_id, param="id", status=404)


def _balance(change: Change, params: Params) -> Json:
    params.finish()
    amounts = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted(change.books.net.items())
    ]
    return {"object": "balance", "available": amounts, "livemode": False, "pending": []}


def operations(*, base_url: Callable[[], str], arrangements: Arrangements) -> list[Operation]:
    """Return all operations. `base_url` says where shoppers find this sandbox's pages."""

    def create_intent(change: Change, params: Params) -> Json:
        return intents.create(change, params, base_url=base_url())

    def confirm_intent(change: Change, params: Params, intent_id: str) -> Json:
        return intents.confirm(change, params, intent_id, base_url=base_url())

    create_method = Operation(
        name="payment_methods.create",
        method="POST",
        path="/v1/payment_methods",
        run=lambda change, params, _: payment_methods.create(change, params),
        publishable=True,
    )
    intent = "/v1/payment_intents/{id}"
    return [
        _on_all("payment_intents.create", "POST", "/v1/payment_intents", create_intent),
        Operation(
            name="payment_intents.retrieve",
            method="GET",
            path=intent,
            run=intents.retrieve,
            publishable=True,  # with the intent's client_secret
        ),
        _on_one("payment_intents.update", "POST", intent, intents.update),
        _on_one("payment_intents.confirm", "POST", f"{intent}/confirm", confirm_intent),
        _on_one("payment_intents.cancel", "POST", f"{intent}/cancel", intents.cancel),
        _list("payment_intents", "payment_intent"),
        create_method,
        _on_one("payment_methods.retrieve", "GET", "/v1/payment_methods/{id}", payment_methods.retrieve),
        _on_one("charges.retrieve", "GET", "/v1/charges/{id}", charges.retrieve),
        _list("charges", "charge", "payment_intent"),
        _on_all("refunds.create", "POST", "/v1/refunds", refunds.create),
        _on_one("refunds.retrieve", "GET", "/v1/refunds/{id}", refunds.retrieve),
        _on_one("refunds.update", "POST", "/v1/refunds/{id}", refunds.update),
        _list("refunds", "refund", "payment_intent", "charge"),
        _on_one("disputes.retrieve", "GET", "/v1/disputes/{id}", disputes.retrieve),
        _list("disputes", "dispute", "payment_intent", "charge"),
        _on_one("events.retrieve", "GET", "/v1/events/{id}", _event),
        _list("events", "event"),
        _on_all("balance.retrieve", "GET", "/v1/balance", _balance),
        _on_all("accounts.retrieve", "GET", "/v1/account", partial(account.account, arrangements=arrangements)),
        _on_all(
            "webhook_endpoints.list",
            "GET",
            "/v1/webhook_endpoints",
            partial(account.webhook_endpoints, arrangements=arrangements),
        ),
        _on_one(
            "country_specs.retrieve",
            "GET",
            "/v1/country_specs/{id}",
            partial(account.country_spec, arrangements=arrangements),
        ),
    ]
