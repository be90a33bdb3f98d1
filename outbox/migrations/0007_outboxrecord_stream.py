from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("outbox", "0006_cleared_through")]
    operations = [
        migrations.AddIndex("outboxrecord", models.Index(fields=["aggregateid"], name="outboxrecord_stream")),
    ]
