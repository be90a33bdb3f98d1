from django.apps import AppConfig
from django.db.models.signals import post_migrate


class OutboxConfig(AppConfig):
    name = "outbox"
    verbose_name = "Outbox"

    def ready(self) -> None:
        from outbox import registry, subscriptions

        registry.discover()
        post_migrate.connect(subscriptions.ensure_all, sender=self)
