"""The process: everything put together behind one port, and a second one that stays open for control."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import cast

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.agenda import Agenda
from sandbox.arrangements import Arrangements
from sandbox.bank.api import BankApi
from sandbox.bank.bank import Bank
from sandbox.bank.operations import operations
from sandbox.bank.webhooks import BankWebhooks
from sandbox.control import Control
from sandbox.faults import Faults
from sandbox.jsons import Json
from sandbox.ledger import BookName, Ledger
from sandbox.mail.api import MailApi
from sandbox.mail.mailbox import Mailbox
from sandbox.mail.webhooks import MailWebhooks, public_half, signing_key
from sandbox.options import Options
from sandbox.pages.site import Pages
from sandbox.screening.api import ScreeningApi
from sandbox.screening.checks import Checks
from sandbox.stats import Stats

MAX_BODY = 30 * 1024 * 1024
"""SendGrid's limit of one mail."""
BACKLOG = 1024
SHUTDOWN_SECONDS = 2.0
"""How long calls under way may still take when the process is asked to end."""


class PortInUseError(Exception):
    """Somebody listens on the port already."""


class Door:
    """One listening port that can be closed and opened again without losing its number."""

    def __init__(self, *, host: str, port: int) -> None:
        self._host = host
        # bound, never listening: it keeps the number while nobody listens, so that callers are refused
        self._keeper = self._bind(port)
        self.port: int = self._keeper.getsockname()[1]
        self._server: asyncio.Server | None = None

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._host, port))
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(f"port {port} of {self._host} is in use") from None
            raise
        return sock

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def open(self, handler: web.Server) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            sock = self._bind(self.port)
            self._server = await loop.create_server(handler, sock=sock, backlog=BACKLOG)

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self, handler: web.Server, *, spare: asyncio.BaseTransport | None = None) -> None:
        """Stop listening and cut every connection but one."""
        self.stop_listening()
        for connection in list(handler.connections):
            if connection.transport is not None and connection.transport is not spare:
                connection.transport.abort()


class Sandbox:
    """One sandbox: state, timers, webhooks and the two doors."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.door = Door(host=options.host, port=options.port)
        self.control_door = Door(host="127.0.0.1", port=options.control_port)
        self._ledger = Ledger(options.data)
        self._agenda = Agenda()
        self._faults = Faults()
        self._stats = Stats()
        self._bank = Bank(options=options, ledger=self._ledger, agenda=self._agenda)
        self._mailbox = Mailbox(options=options, ledger=self._ledger, agenda=self._agenda)
        self._checks = Checks(ledger=self._ledger)
        restore: dict[BookName, Callable[[Json], None]] = {
            "bank": self._bank.restore,
            "mail": self._mailbox.restore,
            "screening": self._checks.restore,
        }
        for book, line in self._ledger.load():
            restore[book](line)
        key = signing_key(options.data)
        self._arrangements = Arrangements(options=options, mail_public_key=public_half(key))
        self._webhooks = self._connect_webhooks(key)
        self._handlers: list[web.Server] = []

    def _connect_webhooks(self, key: ec.EllipticCurvePrivateKey) -> list[BankWebhooks | MailWebhooks]:
        connected: list[BankWebhooks | MailWebhooks] = []
        if self._options.stripe_webhook_url:
            bank = BankWebhooks(
                bank=self._bank,
                url=self._options.stripe_webhook_url,
                secret=self._options.stripe_webhook_secret or "",
                faults=self._faults,
                stats=self._stats,
            )
            self._bank.send_webhooks = bank.send
            connected.append(bank)
        if self._options.sendgrid_webhook_url:
            mail = MailWebhooks(
                mailbox=self._mailbox,
                url=self._options.sendgrid_webhook_url,
                key=key,
                faults=self._faults,
                stats=self._stats,
            )
            self._mailbox.send_webhooks = mail.send
            connected.append(mail)
        return connected

    def _public_app(self) -> web.Application:
        app = self._private_app()
        app.on_response_prepare.append(self._tell_the_time)
        bank = BankApi(
            bank=self._bank,
            ledger=self._ledger,
            faults=self._faults,
            stats=self._stats,
            arrangements=self._arrangements,
            rate_limit=self._options.rate_limit,
        )
        bank.add_routes(app, operations(base_url=lambda: self.door.url, arrangements=self._arrangements))
        mail = MailApi(
            mailbox=self._mailbox,
            ledger=self._ledger,
            faults=self._faults,
            stats=self._stats,
            arrangements=self._arrangements,
        )
        mail.add_routes(app)
        screening = ScreeningApi(
            checks=self._checks,
            ledger=self._ledger,
            faults=self._faults,
            stats=self._stats,
            seconds=self._options.screening_seconds,
        )
        screening.add_routes(app)
        return app

    def _private_app(self) -> web.Application:
        """Return what the control door offers: the control endpoint and the pages."""
        app = web.Application(client_max_size=MAX_BODY)
        Control(
            bank=self._bank,
            ledger=self._ledger,
            faults=self._faults,
            stats=self._stats,
            arrangements=self._arrangements,
            apply_faults=self._match_door_to_faults,
        ).add_routes(app)
        Pages(
            bank=self._bank,
            mailbox=self._mailbox,
            ledger=self._ledger,
            faults=self._faults,
            apply_faults=self._match_door_to_faults,
        ).add_routes(app)
        return app

    async def _tell_the_time(self, request: web.Request, response: web.StreamResponse) -> None:
        """By a clock that may be wrong."""
        response.headers["Date"] = formatdate(time.time() + float(self._arrangements["clock_offset"]), usegmt=True)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until the ledger cannot be written any more (OSError)."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        runners = [
            web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
            for app in (self._public_app(), self._private_app())
        ]
        for runner in runners:
            await runner.setup()
            self._handlers.append(cast(web.Server, runner.server))
        await self.control_door.open(self._handlers[1])
        await self.door.open(self._handlers[0])
        self._bank.resume()
        self._mailbox.resume()
        for webhooks in self._webhooks:
            webhooks.resume()
        _say(f"sandbox ready {self.door.url}")
        _say(f"sandbox control {self.control_door.url}")
        endings = [asyncio.ensure_future(event.wait()) for event in (stop, self._ledger.failure)]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        await self._shut_down(runners)
        for ending in endings:
            ending.cancel()
        if self._ledger.failure.is_set():
            raise OSError("the ledger cannot be written any more")

    async def _match_door_to_faults(self, request: web.Request) -> None:
        """Open or close the public door as the rules in force demand; the caller still gets an answer."""
        if self._faults.down():
            self.door.close(self._handlers[0], spare=request.transport)
        else:
            await self.door.open(self._handlers[0])

    async def _shut_down(self, runners: list[web.AppRunner]) -> None:
        await self._agenda.stop()
        for door in (self.door, self.control_door):
            door.stop_listening()
        for webhooks in self._webhooks:
            await webhooks.stop()
        for runner in runners:
            await runner.cleanup()
        await self._ledger.close()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - whoever started us waits for it
