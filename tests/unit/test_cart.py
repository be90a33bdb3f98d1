"""The cart in the session, and the token that makes a checkout one order."""

from django.contrib.sessions.backends.signed_cookies import SessionStore

from shop.cart import Cart
from shop.services import MAX_QUANTITY, CartLine


def reloaded(session: SessionStore) -> Cart:
    """The cart as the next request finds it: through the session's own serialization."""
    return Cart(SessionStore(session._get_session_key()))


def filled(*lines: tuple[int, int]) -> tuple[SessionStore, Cart]:
    session = SessionStore()
    cart = Cart(session)
    for product_id, quantity in lines:
        cart.add(product_id=product_id, quantity=quantity)
    session.save()
    return session, cart


def test_an_untouched_cart_writes_nothing() -> None:
    session = SessionStore()
    cart = Cart(session)
    assert (len(cart), cart.pieces, cart.checkout_token, session.modified) == (0, 0, None, False)
    cart.remove(product_id=7)
    assert not session.modified


def test_quantities_add_up_and_survive_the_session() -> None:
    session, _ = filled((5, 2), (3, 1), (5, 1))
    cart = reloaded(session)
    assert cart.lines == (CartLine(product_id=5, quantity=3), CartLine(product_id=3, quantity=1))
    assert cart.pieces == 4


def test_a_quantity_stays_within_what_can_be_ordered() -> None:
    _, cart = filled((5, MAX_QUANTITY))
    assert cart.add(product_id=5, quantity=1) == MAX_QUANTITY
    assert cart.put(product_id=5, quantity=0) == 1


def test_two_tabs_with_the_same_content_share_a_token() -> None:
    session, cart = filled((5, 2), (3, 1))
    other = reloaded(session)
    other.remove(product_id=5)
    other.add(product_id=5, quantity=2)
    assert list(other) != list(cart)
    assert other.checkout_token == cart.checkout_token


def test_another_content_has_another_token_and_back_again() -> None:
    _, cart = filled((5, 2))
    before = cart.checkout_token
    cart.put(product_id=5, quantity=3)
    assert cart.checkout_token != before
    cart.put(product_id=5, quantity=2)
    assert cart.checkout_token == before


def test_equal_carts_of_two_shoppers_have_different_tokens() -> None:
    assert filled((5, 2))[1].checkout_token != filled((5, 2))[1].checkout_token


def test_a_renewed_cart_keeps_its_content_under_another_token() -> None:
    session, cart = filled((5, 2))
    before = cart.checkout_token
    cart.renew()
    session.save()
    assert reloaded(session).checkout_token == cart.checkout_token != before
    assert dict(reloaded(session)) == {5: 2}


def test_a_cleared_cart_is_empty_and_the_next_one_has_another_token() -> None:
    session, cart = filled((5, 2))
    before = cart.checkout_token
    cart.clear()
    session.save()
    assert not reloaded(session)
    cart.add(product_id=5, quantity=2)
    assert cart.checkout_token not in (None, before)
