"""Stripe's error bodies (docs.stripe.com/api/errors, docs.stripe.com/error-codes)."""

from __future__ import annotations

from sandbox.jsons import Json


class ApiError(Exception):
    """An answer other than 200.

    `executed` says whether the endpoint had begun to execute: only then is the answer saved under the
    idempotency key, and what it changed (a declined charge, for example) is kept.
    """

    def __init__(self, status: int, error: Json, *, executed: bool = False) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.executed = executed
        self.headers: dict[str, str] = {}
        if "code" in error:
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{error['code'].replace('_', '-')}"
        self.body: Json = {"error": error}


def invalid_request(
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    status: int = 400,
    executed: bool = False,
) -> ApiError:
    error: Json = {"type": "invalid_request_error", "message": message}
    if code is not None:
        error["code"] = code
    if param is not None:
        error["param"] = param
    return ApiError(status, error, executed=executed)


def missing_resource(*, noun: str, resource_id: str, param: str, status: int = 400) -> ApiError:
    """An id in the path is answered with 404, an id in a parameter with 400."""
    message = f"No such {noun}: '{resource_id}'"
    return invalid_request(message, param=param, code="resource_missing", status=status)


def unexpected_state(message: str, *, intent: Json) -> ApiError:
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_unexpected_state",
        "message": message,
        "payment_intent": intent,
    }
    return ApiError(400, error, executed=True)


def authentication_failed(message: str) -> ApiError:
    return invalid_request(message, status=401)


def permission_denied(*, key: str, account: str, permission: str) -> ApiError:
    """What a restricted key hears (docs.stripe.com/keys#limit-access)."""
    return invalid_request(
        f"The provided key '{key}' does not have the required permissions for this endpoint on account '{account}'. "
        f"Having the '{permission}' permission would allow this request to continue.",
        status=403,
    )


def idempotency_mismatch(message: str) -> ApiError:
    return ApiError(400, {"type": "idempotency_error", "message": message})


def key_in_use(key: str) -> ApiError:
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later."
    )
    return invalid_request(message, code="idempotency_key_in_use", status=409)


def rate_limited(*, retry_after: int, reason: str) -> ApiError:
    error = invalid_request(
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        status=429,
    )
    error.headers = {"Retry-After": str(retry_after), "Stripe-Rate-Limited-Reason": reason}
    return error


def server_error() -> ApiError:
    message = "Sorry! There was an error while talking to one of our backends. Support has been notified."
    return ApiError(500, {"type": "api_error", "message": message}, executed=True)
