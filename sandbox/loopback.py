"""Who may press the sandbox's own buttons: people on this machine, through its own pages or by a program."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host names by itself: other names may be made to point anywhere."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host or "")
    except ValueError:
        return None


def _is_local(host: str | None) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


def _named_host(request: web.Request) -> str | None:
    return urlsplit(f"//{request.host}").hostname


def check_program(request: web.Request) -> None:
    """Let only programs on this machine in: a browser tells on itself by an Origin or a foreign Host.

    Raises HTTPForbidden.
    """
    named = _named_host(request)
    if not _is_local(request.remote) or not _is_local(named) or "Origin" in request.headers:
        raise web.HTTPForbidden(text="Only programs on this machine may use the control endpoint.\n")


def check_own_page(request: web.Request) -> None:
    """Let a form through only when one of the sandbox's own pages sent it, or a program without an Origin.

    Raises HTTPForbidden.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if origin != f"{request.scheme}://{request.host}" or _address(_named_host(request)) is None:
        raise web.HTTPForbidden(text="This form may be sent from the sandbox's own pages only.\n")
