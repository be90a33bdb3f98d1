"""What a shopper may send, as far as no database is asked."""

import copy
import unicodedata

import pytest
from django import forms
from django.core.exceptions import ValidationError

from shop.forms import CardForm, CartForm, CheckoutForm, single_line


def is_single_line(text: str) -> bool:
    try:
        single_line(text)
    except ValidationError:
        return False
    return True


def test_no_name_has_control_characters_or_line_ends() -> None:
    refused = {character for character in map(chr, range(0x110000)) if not is_single_line(f"Ada{character}")}
    assert refused == {each for each in map(chr, range(0x110000)) if unicodedata.category(each) in ("Cc", "Zl", "Zp")}


@pytest.mark.parametrize("kind", [CheckoutForm, CardForm, CartForm])
def test_forms_that_share_their_fields_leave_them_alone(kind: type[forms.Form]) -> None:
    class Own(kind):  # type: ignore[misc, valid-type]
        """One whose fields are copies."""

        base_fields = copy.copy(dict(kind.base_fields))

    sent = {
        "email": "nobody",
        "name": "A\0da",
        "country": "XX",
        "payment_method": "4242",
        "action": "?",
        "product": "x",
    }
    for data in (None, sent, {}, None):
        shared, own = kind(data), Own(data)
        assert shared.fields is kind.base_fields
        assert own.fields is not own.base_fields
        assert (shared.is_valid(), shared.as_p()) == (own.is_valid(), own.as_p())
