"""Sessions in Django's own table, read and written with prepared statements: every page of a shopper does."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.utils import timezone

from outbox import prepared

_LOAD = b"""
SELECT session_data FROM django_session WHERE session_key = %(key)s AND expire_date > %(now)s::timestamptz
"""
_SAVE = """
UPDATE django_session SET session_data = %(session_data)s, expire_date = %(session_expires)s::timestamptz
{source} WHERE session_key = %(session_key)s RETURNING session_key
"""
_SAVE_ALONE = _SAVE.format(source="").encode()


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
        if content != self._written and not prepared.run(_SAVE_ALONE, self._parameters(content)):
            raise UpdateError

    def without(self, name: str) -> prepared.Addition:
        """What writes it without that entry, in the transaction that is open. Here the entry stays until that has
        committed; taken out then, it leaves `save` nothing to do."""
        content = {each: value for each, value in self.items() if each != name}

        def told(is_there: bool) -> None:
            self._written = content if is_there else None

        return prepared.Addition(sql=_SAVE, parameters=self._parameters(content), told=told)

    def _parameters(self, content: dict[str, Any]) -> dict[str, str]:
        """With them, nothing is found of a session that was deleted meanwhile."""
        return {
            "session_key": self.session_key or "",
            "session_data": self.encode(content),
            "session_expires": self.get_expiry_date().isoformat(),
        }
