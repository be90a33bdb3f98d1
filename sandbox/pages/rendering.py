"""Turning templates into pages: escaped, without inline script or style, closed to other sites."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sandbox.bank.currencies import display

HERE = Path(__file__).parent
STATIC = HERE / "static"
HEADERS = {
    # not no-referrer: browsers would then send our own forms with "Origin: null"
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _money(amount: int, currency: str) -> str:
    return display(amount, currency=currency)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"money": _money, "moment": _moment}


def policy(**sources: str) -> str:
    """Return a Content-Security-Policy that allows nothing but what is named, `form_action="'self'"` for one."""
    allowed = {"default_src": "'none'", "base_uri": "'none'", "form_action": "'none'", "frame_ancestors": "'none'"}
    return "; ".join(f"{name.replace('_', '-')} {value}" for name, value in {**allowed, **sources}.items())


PAGE_POLICY = policy(style_src="'self'", form_action="'self'", frame_src="'self'", img_src="'self'")


def page(template: str, *, status: int = 200, csp: str = PAGE_POLICY, **values: Any) -> web.Response:
    """Render one page. `csp` is its Content-Security-Policy."""
    return web.Response(
        status=status,
        text=_templates.get_template(template).render(**values),
        content_type="text/html",
        headers={**HEADERS, "Content-Security-Policy": csp},
    )


def missing(what: str) -> web.Response:
    return page("message.html", status=404, title="Not found", text=f"{what} is not known here.")
