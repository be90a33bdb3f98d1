from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from shop import checks, schedules

        checks.register()
        post_migrate.connect(schedules.ensure_all, sender=self)
