"""No row leaves its declared status graph (outbox/transitions.py)."""

from django.db import migrations

from outbox.transitions import DeclareTransitions

ORDER = {
    "placed": ["accepted", "awaiting_payment", "cancelled", "cancelling", "payment_failed", "under_review"],
    "under_review": ["accepted", "awaiting_payment", "cancelling", "payment_failed"],
    "awaiting_payment": ["accepted", "action_required", "cancelling", "payment_declined", "payment_failed"],
    "action_required": ["accepted", "cancelling", "payment_declined", "payment_failed"],
    "payment_declined": ["accepted", "action_required", "awaiting_payment", "cancelling", "payment_failed"],
    "cancelling": ["accepted", "cancelled", "payment_failed", "shipped"],
    "accepted": ["cancelling", "fulfillment_failed", "on_hold", "shipped"],
    "on_hold": ["accepted", "cancelled", "shipped"],
}


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [DeclareTransitions("Order", ORDER)]
