"""Idempotency keys as in Stripe's API v1 (docs.stripe.com/api/idempotent_requests).

The answer of a request that had begun to execute is saved with its key, declines and 500s included, and is
replayed to the same request. Refusals before that (parameters, credentials, 409, 429) save nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sandbox.bank.errors import idempotency_mismatch, invalid_request, key_in_use

MAX_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one key was used for, and what it answers. `saved_at` is in seconds since 1970."""

    path: str
    fingerprint: str
    request_id: str
    status: int
    body: bytes
    saved_at: float


def fingerprint(pairs: list[tuple[str, str]]) -> str:
    """Return a digest of the parameters that does not depend on their order."""
    text = "&".join(f"{len(key)}:{key}={value}" for key, value in sorted(pairs))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Keys:
    """The keys of the account: the ones that answer, and the ones whose request is still executing."""

    def __init__(self, *, ttl_seconds: float) -> None:
        self._ttl = ttl_seconds
        self._records: dict[str, Record] = {}
        self._executing: set[str] = set()

    def begin(self, key: str, *, path: str, parameters: str, now: float) -> Record | None:
        """Return the record to replay, or None when the request is to be executed, until `release`.

        Raises ApiError: the key is too long, belongs to another request, or its request is under way.
        """
        if len(key) > MAX_LENGTH:
            raise invalid_request(f"Idempotency keys can be up to {MAX_LENGTH} characters in length.")
        self._prune(now)
        record = self._records.get(key)
        if record is None:
            if key in self._executing:
                raise key_in_use(key)
            self._executing.add(key)
            return None
        if record.path != path:
            raise idempotency_mismatch(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{path}' vs '{record.path}'). Try using a key other than '{key}' if you meant to execute a "
                "different request."
            )
        if record.fingerprint != parameters:
            raise idempotency_mismatch(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with. Try using a key other than '{key}' if you meant to execute a different request."
            )
        return record

    def release(self, key: str) -> None:
        self._executing.discard(key)

    def save(self, key: str, record: Record) -> None:
        self._records[key] = record

    def _prune(self, now: float) -> None:
        """Forget what is old: records stand in the order of their age."""
        while self._records:
            oldest = next(iter(self._records))
            if self._records[oldest].saved_at + self._ttl > now:
                return
            del self._records[oldest]
