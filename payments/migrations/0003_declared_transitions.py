"""No row leaves its declared status graph (outbox/transitions.py)."""

from django.db import migrations

from outbox.transitions import DeclareTransitions

PAYMENT = {
    "unprocessed": ["canceled", "canceling", "processing"],
    "processing": ["canceling", "declined", "failed", "requires_action", "succeeded", "unknown", "unprocessed"],
    "unknown": ["canceling", "declined", "failed", "requires_action", "succeeded"],
    "requires_action": ["canceling", "declined", "failed", "succeeded", "unknown"],
    "declined": ["canceling", "unprocessed"],
    "canceling": ["canceled", "succeeded"],
}

REFUND = {
    "awaiting_approval": ["canceled", "unprocessed"],
    "unprocessed": ["processing"],
    "processing": ["failed", "pending", "succeeded", "unknown", "unprocessed"],
    "unknown": ["failed", "pending", "succeeded"],
    "pending": ["failed", "succeeded"],
    "succeeded": ["failed", "pending"],
}


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_journal_is_closed_once")]
    operations = [DeclareTransitions("Payment", PAYMENT), DeclareTransitions("Refund", REFUND)]
