"""A mail as the store might send it."""

from __future__ import annotations

from typing import Any


def a_mail(*, to: str = "shopper@example.com", **more: Any) -> dict[str, Any]:
    return {
        "personalizations": [{"to": [{"email": to, "name": "A Shopper"}], "custom_args": {"message": "17"}}],
        "from": {"email": "store@example.com", "name": "The Store"},
        "subject": "Your order is confirmed",
        "content": [
            {"type": "text/plain", "value": "Thank you."},
            {"type": "text/html", "value": "<p>Thank <b>you</b>.</p>"},
        ],
        "custom_args": {"order": "7"},
        **more,
    }
