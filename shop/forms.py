"""What a shopper may send. Everything else about an order (prices, names, currency) comes from the database."""

import re
import uuid
from dataclasses import fields
from typing import Any, TypeVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from shop import countries
from shop.models import Product
from shop.services import MAX_QUANTITY, Contact
from shop.text import CONTROL

# The bank's id of a card (`pm_…`); anything else, a card number above all, must not even be stored.
PAYMENT_METHOD = r"^pm_[A-Za-z0-9_]{1,252}\Z"


FormT = TypeVar("FormT", bound=type[forms.Form])


class _Fields(dict[str, forms.Field]):
    def __deepcopy__(self, memo: object) -> "_Fields":
        return self


def fixed(form: FormT) -> FormT:
    """All forms of this class share its fields: none changes them, and copying them costs as much as using them."""
    form.base_fields = _Fields(form.base_fields)
    return form


def single_line(value: str) -> None:
    """Refuse control characters and line ends: no name or address has them, mail headers and labels must not."""
    if CONTROL.search(value):
        raise ValidationError("Please use letters, digits and signs on one line only.")


def _text(autocomplete: str) -> forms.TextInput:
    """A field that browsers fill in by themselves (html.spec.whatwg.org, autofill)."""
    return forms.TextInput(attrs={"autocomplete": f"shipping {autocomplete}"})


@fixed
class CartForm(forms.Form):
    """`set` needs a quantity, `remove` none."""

    ADD, SET, REMOVE = "add", "set", "remove"

    action = forms.ChoiceField(choices=[(each, each) for each in (ADD, SET, REMOVE)])
    product = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    quantity = forms.IntegerField(
        min_value=1,
        max_value=MAX_QUANTITY,
        required=False,
        error_messages=dict.fromkeys(
            ("min_value", "max_value", "invalid"), f"Please choose a quantity from 1 to {MAX_QUANTITY}."
        ),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        action, product = cleaned.get("action"), cleaned.get("product")
        if action == self.ADD and product and not Product.objects.filter(pk=product, active=True).exists():
            raise ValidationError("This product is no longer sold.")
        return cleaned


@fixed
class CardForm(forms.Form):
    """The card, as the bank's id of it, made in the shopper's browser."""

    payment_method = forms.RegexField(
        PAYMENT_METHOD,
        label="Card",
        error_messages={"required": "Please enter your card.", "invalid": "Please enter your card again."},
    )

    @property
    def payment_method_id(self) -> str:
        return str(self.cleaned_data["payment_method"])


class _Country(forms.ChoiceField):
    """Its choices are made and sorted for a page that shows them, not for looking whether one is among them."""

    def valid_value(self, value: str) -> bool:
        return value in settings.SHIPPING_COUNTRIES


@fixed
class CheckoutForm(CardForm):
    """Who gets what, how, and who pays.

    The ways of shipping stand in the page with the total of each, sent back as `total_<code>`, so that what
    the shopper saw is known without a script. Whether a way is still offered is for `place_order` to say: an
    order that was already placed is found again even if it is not.
    """

    email = forms.EmailField(
        label="Email",
        max_length=254,
        help_text="We write to you about this order, and about nothing else.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    name = forms.CharField(label="Full name", max_length=120, validators=[single_line], widget=_text("name"))
    address = forms.CharField(
        label="Street and number", max_length=200, validators=[single_line], widget=_text("address-line1")
    )
    address_2 = forms.CharField(
        label="Flat, floor, company",
        max_length=200,
        required=False,
        validators=[single_line],
        widget=_text("address-line2"),
    )
    postal_code = forms.CharField(
        label="Postal code", max_length=20, validators=[single_line], widget=_text("postal-code")
    )
    city = forms.CharField(
        label="Town or city", max_length=100, validators=[single_line], widget=_text("address-level2")
    )
    country = _Country(
        label="Country",
        choices=lambda: [("", "Choose…"), *countries.served()],
        widget=forms.Select(attrs={"autocomplete": "shipping country"}),
    )
    shipping = forms.SlugField(
        label="Shipping",
        max_length=40,
        error_messages=dict.fromkeys(
            ("required", "invalid", "max_length"), "Please choose how your parcel should travel."
        ),
    )
    checkout_token = forms.UUIDField(
        error_messages=dict.fromkeys(
            ("required", "invalid"), "This page was out of date: please check it and send it again."
        )
    )

    @property
    def token(self) -> uuid.UUID | None:
        """The checkout token, known even when another field is wrong."""
        token: uuid.UUID | None = self.cleaned_data.get("checkout_token")
        return token

    @property
    def contact(self) -> Contact:
        return Contact(**{field.name: self.cleaned_data[field.name] for field in fields(Contact)})

    @property
    def shipping_code(self) -> str:
        return str(self.cleaned_data["shipping"])

    @property
    def expected_total(self) -> int:
        """Minor units: the total shown beside the chosen way of shipping; 0, which no order costs, if missing."""
        shown = self.data.get(f"total_{self.shipping_code}", "")
        return int(shown) if re.fullmatch(r"[0-9]{1,12}", shown) else 0
