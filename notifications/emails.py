"""A mail from what is known about an order: subject, plain text and HTML.

`facts` gathers plain values (they are stored with the message, and the provider's dynamic templates get the same),
`render` fills the templates below templates/notifications/<template>/ with them.
"""

import functools
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payments.money import display
from shop import countries
from shop.models import Order
from shop.selectors import Ordered
from shop.text import CONTROL

# Names of values, all of them text, lists of text or lists of such; nothing else survives JSON unchanged.
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    subject: str
    text: str
    html: str


@functools.cache
def _templates(*, escaped: bool) -> Environment:
    """A text that a page includes is escaped there, and nowhere else: it depends on the whole, not on the file."""
    return Environment(
        loader=FileSystemLoader(settings.BASE_DIR / "templates"),
        autoescape=escaped,  # noqa: S701 - subject and text are no HTML
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        auto_reload=settings.DEBUG,
    )


def single_line(text: str) -> str:
    """Without line breaks and other control characters, which have no place in a header or in a name.

    Everything else stays, emoji and their joiners included.
    """
    return " ".join(CONTROL.sub(" ", text).split())


_ANY = "any-order"


@functools.cache
def _page_of_any() -> str:
    return Order(token=_ANY).get_absolute_url()


def _page(order: Order) -> str:
    """`get_absolute_url`, whose route is looked up once."""
    return _page_of_any().replace(_ANY, order.token)


def facts(ordered: Ordered, **extra: Any) -> Facts:
    """What every mail knows about its order, and what this one knows besides (`extra`)."""
    order = ordered.order

    def amount(value: int) -> str:
        return display(amount=value, currency=order.currency)

    address = (
        order.name,
        order.address,
        order.address_2,
        f"{order.postal_code} {order.city}",
        countries.name(order.country),
    )
    return {
        "store": settings.STORE_NAME,
        "number": order.number,
        "name": single_line(order.name),
        "url": settings.STORE_ADDRESS + _page(order),
        "lines": [
            {"name": line.name, "quantity": line.quantity, "amount": amount(line.amount)} for line in ordered.lines
        ],
        "subtotal": amount(order.subtotal),
        "shipping": amount(order.shipping_price),
        "shipping_method": ordered.shipping_method.name,
        "shipping_days": ordered.shipping_method.days,
        "total": amount(order.total),
        "address": [single_line(each) for each in address if each],
        **extra,
    }


def render(template: str, data: Facts) -> Email:
    """Raises TemplateNotFound, or UndefinedError for a value that a template asks for and nobody gives."""

    def fill(part: str, *, escaped: bool = False) -> str:
        return _templates(escaped=escaped).get_template(f"notifications/{template}/{part}").render(data)

    return Email(
        subject=single_line(fill("subject.txt")),
        text=_tidy(fill("text.txt")),
        html=fill("mail.html", escaped=True).strip() + "\n",
    )


def _tidy(text: str) -> str:
    """No line ends in blanks, and no two of them are empty: what templates leave behind."""
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"
