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
        data, expires = self.encode(dict(self.items())), self.get_expiry_date().isoformat()
        if not prepared.run(_SAVE, {"key": self.session_key, "data": data, "expires": expires}):
            raise UpdateError
