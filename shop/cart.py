"""The cart: product ids and quantities in the shopper's session, under a random id of its own.

The session is written as a whole: of two tabs that change the cart in the same instant the later one wins,
and the cart page that both are led to shows the result.
"""

import uuid
from collections.abc import Iterator, Mapping

from django.contrib.sessions.backends.base import SessionBase

from outbox.prepared import Addition
from shop.services import MAX_QUANTITY, CartLine

_KEY = "cart"


class Cart(Mapping[int, int]):
    """Quantity by product id, oldest line first."""

    def __init__(self, session: SessionBase) -> None:
        self._session = session
        stored = session.get(_KEY, {})
        self._id: str = stored.get("id", "")
        # JSON knows only strings as keys.
        self._quantities: dict[int, int] = {int(pk): n for pk, n in stored.get("lines", {}).items()}

    def __getitem__(self, product_id: int) -> int:
        return self._quantities[product_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._quantities)

    def __len__(self) -> int:
        return len(self._quantities)

    @property
    def pieces(self) -> int:
        return sum(self._quantities.values())

    @property
    def lines(self) -> tuple[CartLine, ...]:
        return tuple(CartLine(product_id=pk, quantity=quantity) for pk, quantity in self._quantities.items())

    @property
    def checkout_token(self) -> uuid.UUID | None:
        """What makes sending the checkout twice one order; None while the cart is empty.

        Derived, not stored: two tabs that show the same content agree on it without having to meet, and
        another content has another token. The cart's id is 122 random bits and never leaves the server, so
        nobody can derive it but us.
        """
        if not self._quantities:
            return None
        content = " ".join(f"{pk}x{quantity}" for pk, quantity in sorted(self._quantities.items()))
        return uuid.uuid5(uuid.UUID(self._id), content)

    def add(self, *, product_id: int, quantity: int) -> int:
        """Add pieces, up to MAX_QUANTITY of one product; returns how many there are now."""
        return self.put(product_id=product_id, quantity=self.get(product_id, 0) + quantity)

    def put(self, *, product_id: int, quantity: int) -> int:
        """Set the number of pieces, within 1 and MAX_QUANTITY; returns the number that was set."""
        self._quantities[product_id] = max(1, min(quantity, MAX_QUANTITY))
        self._save()
        return self._quantities[product_id]

    def remove(self, *, product_id: int) -> None:
        """Take the product out; repeating it changes nothing."""
        if self._quantities.pop(product_id, None) is not None:
            self._save()

    def renew(self) -> None:
        """Keep the content under a new id: ordering it again is another checkout."""
        self._id = ""
        self._save()

    def leaving(self) -> Addition:
        """What writes the session without the cart, for the order's transaction; `clear` follows its commit."""
        addition: Addition = self._session.without(_KEY)  # type: ignore[attr-defined]  # of settings.SESSION_ENGINE
        return addition

    def clear(self) -> None:
        """Empty the cart; the next one has another id."""
        self._session.pop(_KEY, None)
        self._id, self._quantities = "", {}

    def _save(self) -> None:
        self._id = self._id or str(uuid.uuid4())
        self._session[_KEY] = {"id": self._id, "lines": {str(pk): n for pk, n in self._quantities.items()}}
