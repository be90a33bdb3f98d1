"""Made-up facts for previews: every template can be looked at before the first order."""

from notifications.emails import Facts

_ORDER: Facts = {
    "store": "Harbour & Pine",
    "number": "O-001042",
    "name": "Ada Lovelace",
    "url": "http://127.0.0.1:8000/orders/sample/",
    "lines": [
        {"name": "Enamel mug, pine green", "quantity": 2, "amount": "€28.00"},
        {"name": "Wool blanket", "quantity": 1, "amount": "€89.00"},
    ],
    "subtotal": "€117.00",
    "shipping": "€4.90",
    "shipping_method": "Standard",
    "shipping_days": "2–3 working days",
    "total": "€121.90",
    "address": ["Ada Lovelace", "Havenstraat 12", "1011 AB Amsterdam", "Netherlands"],
}

# What the events add, by template.
_EXTRA: dict[str, Facts] = {
    "order_confirmed": {},
    "payment_action_required": {"hold_minutes": 60},
    "payment_declined": {"hold_minutes": 60},
    "order_cancelled": {"why": "sold_out", "missing": ["Wool blanket"], "refund": False, "at_bank": False},
    "order_shipped": {"carrier": "DHL", "tracking": "00340434161094042557"},
    "order_refunded": {"amount": "€28.00", "partial": True},
}


def sample(template: str) -> Facts:
    """The facts of a made-up order for this template. Raises KeyError for an unknown one."""
    return {**_ORDER, **_EXTRA[template]}
