"""Sessions in Django's own table, read and written with prepared statements: every page of a shopper does."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.utils import timezone

from outbox import prepared

_LOAD = b"""
SELECT session_data FROM django_session WHERE session_key = %(key)s AND expire_date > %(now)s::timestamptz
"""
_SAVE = b"""
UPDATE django_session SET session_data = %(data)s, expire_date = %(expires)s::timestamptz
WHERE session_key = %(key)s RETURNING session_key
"""


class SessionStore(db.SessionStore):
    """Django's, but for what each request does. It can be exchanged for it at any time: keys, rows and cookies are
    the same."""

    _written: dict[str, Any] | None = None

    def load(self) -> dict[str, Any]:
        rows = prepared.run(_LOAD, {"key": self.session_key or "", "now": timezone.now().isoformat()})
        if not rows:
            self._session_key = None
            return {}
        ((data,),) = rows
        return self.decode(data)

    def save(self, must_create: bool = False) -> None:
        """Raises UpdateError for a session that was deleted meanwhile."""
        if must_create or self.session_key is None:
            super().save(must_create)
            return
        content = dict(self.items())
        if content != self._written and not self._write(content):
            raise UpdateError

    def save_without(self, name: str) -> None:
        """Write it without that entry, in the transaction that is open. Here the entry stays until that has committed;
        taken out then, it leaves `save` nothing to do."""
        content = {each: value for each, value in self.items() if each != name}
        if self.session_key is not None and self._write(content):
            self._written = content

    def _write(self, content: dict[str, Any]) -> bool:
        """False for a session that was deleted meanwhile."""
        data, expires = self.encode(content), self.get_expiry_date().isoformat()
        return bool(prepared.run(_SAVE, {"key": self.session_key or "", "data": data, "expires": expires}))
