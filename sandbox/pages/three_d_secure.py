"""The page of the card holder's bank: approve the payment, reject it, or walk away."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from aiohttp import web

from sandbox.bank import confirmation
from sandbox.bank.bank import Bank
from sandbox.jsons import Json
from sandbox.ledger import Ledger
from sandbox.loopback import check_own_page
from sandbox.pages.rendering import missing, page, policy


class ThreeDSecurePages:
    """`/3ds/<intent>`."""

    def __init__(self, *, bank: Bank, ledger: Ledger) -> None:
        self._bank = bank
        self._ledger = ledger

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/3ds/{id}", self._ask)
        app.router.add_post("/3ds/{id}", self._answer)

    async def _ask(self, request: web.Request) -> web.Response:
        intent = self._bank.books.tables["payment_intent"].get(request.match_info["id"])
        if intent is None:
            return missing("This payment")
        back = self._return_url(intent)
        # a redirect after a form counts as its target: the store's page must be allowed too
        target = "" if back is None else f" {urlsplit(back).scheme}://{urlsplit(back).netloc}"
        method = self._bank.books.tables["payment_method"].get(intent["payment_method"] or "")
        return page(
            "three_d_secure.html",
            csp=policy(style_src="'self'", img_src="'self'", form_action=f"'self'{target}"),
            intent=intent,
            card=method["card"] if method else None,
            back=None if back is None else _with_result(back, intent),
        )

    async def _answer(self, request: web.Request) -> web.Response:
        check_own_page(request)
        intent_id = request.match_info["id"]
        outcome = (await request.post()).get("outcome")
        if intent_id not in self._bank.books.tables["payment_intent"] or outcome not in ("approve", "reject"):
            return missing("This payment")
        change = self._bank.change()
        intent = confirmation.authenticate(change, intent_id, approved=outcome == "approve")
        if change.objects:
            await self._bank.carry_out(change, {"op": f"three_d_secure.{outcome}", "intent": intent_id})
        back = self._return_url(intent)
        raise web.HTTPSeeOther(f"/3ds/{intent_id}" if back is None else _with_result(back, intent))

    def _return_url(self, intent: Json) -> str | None:
        """Return where the shopper came from: the last address that was given for this intent."""
        for number in reversed(self._bank.trail.get(intent["id"], [])):
            line = self._ledger.line(number) or {}
            url = line.get("params", {}).get("return_url")
            if url is not None:
                return str(url)
        return None


def _with_result(url: str, intent: Json) -> str:
    """Return the return address with what Stripe appends to it."""
    result = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if intent["status"] == "succeeded" else "failed",
    }
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(result)}"
