"""All pages of the sandbox and where they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.bank.bank import Bank
from sandbox.faults import Faults
from sandbox.ledger import Ledger
from sandbox.mail.mailbox import Mailbox
from sandbox.pages.bank import BankPages
from sandbox.pages.elements import ElementsPages
from sandbox.pages.faults import FaultPages
from sandbox.pages.mailbox import MailboxPages
from sandbox.pages.rendering import STATIC, page
from sandbox.pages.three_d_secure import ThreeDSecurePages


class Pages:
    """The overview, and the pages of each part."""

    def __init__(
        self,
        *,
        bank: Bank,
        mailbox: Mailbox,
        ledger: Ledger,
        faults: Faults,
        apply_faults: Callable[[web.Request], Awaitable[None]],
    ) -> None:
        self._bank = bank
        self._mailbox = mailbox
        self._faults = faults
        self._parts = (
            BankPages(bank=bank, ledger=ledger),
            MailboxPages(mailbox=mailbox, ledger=ledger),
            FaultPages(faults=faults, apply_faults=apply_faults),
            ThreeDSecurePages(bank=bank, ledger=ledger),
            ElementsPages(),
        )

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self._overview)
        app.router.add_static("/static/", STATIC)
        for part in self._parts:
            part.add_routes(app)

    async def _overview(self, request: web.Request) -> web.Response:
        return page(
            "overview.html",
            intents=len(self._bank.books.tables["payment_intent"]),
            refunds=len(self._bank.books.tables["refund"]),
            disputes=len(self._bank.books.tables["dispute"]),
            messages=len(self._mailbox.messages),
            faults=len(self._faults.rules()),
            net=sorted(self._bank.books.net.items()),
        )
