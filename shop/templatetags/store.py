from django import template
from django.conf import settings

from payments.money import display

register = template.Library()


@register.filter
def money(amount: int, currency: str = "") -> str:
    """An amount in minor units as people read it; in the store's currency unless another is given."""
    return display(amount=amount, currency=currency or settings.STORE_CURRENCY)
