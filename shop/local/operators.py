"""Operators at the admin of a local store: at work beside the shoppers, and until nothing waits for them."""

import subprocess

from shop.local.store import APPROVER, OPERATOR, PAYMENT_OPERATOR, LocalStore, StoreError

# Seconds that they work at most: they are sent home when the last shopper is.
SHIFT = 3600
# What waits may, once decided, lead to more of it.
DECIDE_AT_MOST = 4
WAITING = """
    SELECT (SELECT count(*) FROM payments_refund WHERE status = 'awaiting_approval' OR blocked_reason <> '')
         + (SELECT count(*) FROM payments_payment WHERE blocked_reason <> '')
         + (SELECT count(*) FROM notifications_message WHERE blocked_reason <> '')
         + (SELECT count(*) FROM payments_difference WHERE resolved_at IS NULL)
         + (SELECT count(*) FROM shop_order WHERE status = 'under_review')
         + (SELECT count(*) FROM shop_concern WHERE resolved_at IS NULL)
         + (SELECT count(*) FROM outbox_parkedevent WHERE status = 'waiting')
"""


class Operators:
    """Those of one local store; `seed` makes their choices the same again."""

    def __init__(self, store: LocalStore, *, seed: int) -> None:
        self._store = store
        self._seed = str(seed)

    def begin_work(self, count: int) -> "subprocess.Popen[bytes]":
        """Retry, cancel and refund at random, until `LocalStore.end`; the log is that of simulate_operators."""
        return self._store.begin(
            *("simulate_operators", "--operators", str(count), "--seconds", str(SHIFT), "--seed", self._seed),
            OPERATOR_LOGINS=self._logins(PAYMENT_OPERATOR, APPROVER),
        )

    def decide_what_waits(self, *, patience: int) -> None:
        """Until nothing waits for a person any more; the store may take `patience` seconds to settle after each
        round. Raises StoreError."""
        for _ in range(DECIDE_AT_MOST):
            if not self._waiting():
                return
            # The superuser decides what those two may not: their own.
            logins = self._logins(PAYMENT_OPERATOR, APPROVER, OPERATOR)
            self._manage("simulate_operators", "--decide", "--seed", self._seed, OPERATOR_LOGINS=logins)
            self._manage("pipeline_status", "--wait-quiet", str(patience))
        if left := self._waiting():
            raise StoreError(f"What waits for operators comes up again and again: {left} are left.")

    def _waiting(self) -> int:
        ((count,),) = self._store.query(WAITING)
        return int(count)

    def _manage(self, *arguments: str, **environment: str) -> None:
        if status := self._store.manage(*arguments, meanwhile=None, **environment):
            raise StoreError(f"{arguments[0]} ended with status {status}.")

    def _logins(self, *names: str) -> str:
        return " ".join(f"{name}:{self._store.logins[name]}" for name in names)
