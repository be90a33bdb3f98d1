"""No row leaves its declared status graph (outbox/transitions.py)."""

from django.db import migrations

from outbox.transitions import DeclareTransitions

MESSAGE = {
    "pending": ["sending"],
    "sending": ["ambiguous", "failed", "pending", "sent"],
    "ambiguous": ["failed", "pending", "sent"],
    "failed": ["pending"],
}


class Migration(migrations.Migration):
    dependencies = [("notifications", "0002_journal_is_closed_once")]
    operations = [DeclareTransitions("Message", MESSAGE)]
