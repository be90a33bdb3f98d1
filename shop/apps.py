from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from shop import checks, groups, schedules

        checks.register()
        post_migrate.connect(schedules.ensure_all, sender=self)
        post_migrate.connect(groups.ensure_all, sender=self)
