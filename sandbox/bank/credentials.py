"""Which API keys the bank accepts: any test key; a restricted one that was arranged, for what it may do."""

from __future__ import annotations

import base64
import binascii
import re

from sandbox.arrangements import Arrangements
from sandbox.bank.errors import authentication_failed, invalid_request, permission_denied

ACCOUNT_ID = "acct_sandbox"
"""Every test key belongs to the one account of this sandbox."""
_KEY = re.compile(r"(sk|pk|rk)_test_\w+\Z")
_PERMISSIONS = {
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "charges": "charge",
    "refunds": "charge",  # one permission for both
    "disputes": "dispute",
    "events": "event",
    "balance": "balance",
    "accounts": "accounts_kyc_id_numbers",
    "webhook_endpoints": "webhook",
}
"""What a restricted key must be allowed, by the first word of the operation's name; others need no permission."""


def check(
    authorization: str | None, *, operation: str, writes: bool, publishable_allowed: bool, arrangements: Arrangements
) -> str:
    """Check the value of an Authorization header and return the key in it. Raises ApiError (401, 403)."""
    key = _key_in(authorization or "")
    if not key:
        raise authentication_failed(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            "https://stripe.com/docs/api#authentication for details, or we can help at "
            "https://support.stripe.com/."
        )
    match = _KEY.match(key)
    if match is None or (match[1] == "rk" and key not in arrangements["restricted_keys"]):
        raise authentication_failed(f"Invalid API Key provided: {_masked(key)}")
    if match[1] == "pk" and not publishable_allowed:
        raise invalid_request(
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find "
            "a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
            code="secret_key_required",
            status=403,
        )
    if match[1] == "rk" and (kind := _PERMISSIONS.get(operation.partition(".")[0])):
        allowed = arrangements["restricted_keys"][key]
        needed = f"rak_{kind}_{'write' if writes else 'read'}"
        if needed not in allowed and f"rak_{kind}_write" not in allowed:
            raise permission_denied(key=_masked(key), account=ACCOUNT_ID, permission=needed)
    return key


def _key_in(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _masked(key: str) -> str:
    shown = 8 if key.startswith(("sk_", "pk_", "rk_")) else 0
    return key[:shown] + "*" * max(4, len(key) - shown - 4) + key[-4:]
