"""Who may do what at the admin: five groups, kept as written here by every `migrate`.

A shop that wants it otherwise makes groups of its own names; these five would be set back.
"""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db.models import Q

APPS = ("outbox", "payments", "shop", "notifications")

VIEWER, OPERATOR, APPROVER, WAREHOUSE, ADMINISTRATOR = (
    "Viewer",
    "Payment operator",
    "Approver",
    "Warehouse",
    "Administrator",
)

_OPERATES = (
    "payments.operate_payment",
    "payments.refund_payment",
    "payments.resolve_difference",
    "shop.cancel_order",
    "shop.review_order",
    "shop.resolve_concern",
    "notifications.operate_message",
)
_APPROVES = ("payments.approve_refund",)
_MOVES_STOCK = ("shop.move_stock",)
_ADMINISTERS = (
    "outbox.repair_event",
    "outbox.operate_subscription",
    "outbox.manage_feed_tokens",
    *(f"shop.{what}_{model}" for what in ("add", "change") for model in ("product", "shippingmethod")),
    *(f"auth.{what}_user" for what in ("add", "change", "view")),
    "auth.view_group",
    *(f"django_q.{what}_schedule" for what in ("change", "view")),
    *(f"django_q.view_{model}" for model in ("failure", "success", "ormq")),
)
# Beyond seeing everything in the store's own apps.
GRANTS: dict[str, tuple[str, ...]] = {
    VIEWER: (),
    OPERATOR: _OPERATES,
    APPROVER: _APPROVES,
    WAREHOUSE: _MOVES_STOCK,
    ADMINISTRATOR: (*_OPERATES, *_APPROVES, *_MOVES_STOCK, *_ADMINISTERS),
}


def ensure_all(**_: Any) -> None:
    """Create the groups, or set their permissions back to these. Safe to run at any time."""
    from django.apps import apps
    from django.contrib.auth.models import Group, Permission

    for app in (*APPS, "auth", "django_q"):
        create_permissions(apps.get_app_config(app), verbosity=0)
    seen = Q(content_type__app_label__in=APPS, codename__startswith="view_")
    for name, granted in GRANTS.items():
        named = Q(pk__in=[])
        for each in granted:
            app, codename = each.split(".")
            named |= Q(content_type__app_label=app, codename=codename)
        group, _created = Group.objects.get_or_create(name=name)
        group.permissions.set(Permission.objects.filter(seen | named))
