"""The bank's part in the store's checkout page: a script like Stripe.js, and the frame with the card's fields."""

from __future__ import annotations

from aiohttp import web

from sandbox.bank.cards import BY_STATIC_ID
from sandbox.pages.rendering import HEADERS, STATIC, page, policy

OFFERED = (
    "pm_card_visa",
    "pm_card_visa_chargeDeclined",
    "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
    "pm_card_threeDSecureRequiredChargeDeclined",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_card_createDispute",
    "pm_card_refundFail",
    "pm_card_pendingRefund",
)
"""The test cards with a button of their own."""
FRAME_POLICY = policy(
    script_src="'self'", style_src="'self'", img_src="'self'", connect_src="'self'", frame_ancestors="*"
)
"""Any store may show the frame, as Stripe's: it tells nothing but the id of a payment method."""


class ElementsPages:
    """`/js/v3/` and `/elements/card`."""

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/js/v3/", self._script)
        app.router.add_get("/js/v3", self._script)
        app.router.add_get("/elements/card", self._frame)

    async def _script(self, request: web.Request) -> web.Response:
        script = (STATIC / "stripe.js").read_text(encoding="utf-8")
        return web.Response(text=script, content_type="text/javascript", headers=HEADERS)

    async def _frame(self, request: web.Request) -> web.Response:
        theme = request.query.get("theme", "")
        return page(
            "card_frame.html",
            csp=FRAME_POLICY,
            cards=[BY_STATIC_ID[name] for name in OFFERED],
            theme=theme if theme in ("light", "dark") else "auto",
        )
