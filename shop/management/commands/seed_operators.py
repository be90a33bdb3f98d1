import os
from typing import Any, ClassVar

from django.contrib.auth.models import Group, User
from django.core.management.base import CommandError
from django.db import transaction

from outbox.management.commanding import UNUSABLE, StoreCommand
from shop.groups import APPROVER, OPERATOR

# Name, its password's variable, groups. The approver also does what others do: only not both for one refund.
ACCOUNTS = (
    ("payment-operator", "PAYMENT_OPERATOR_PASSWORD", (OPERATOR,)),
    ("approver", "APPROVER_PASSWORD", (OPERATOR, APPROVER)),
)


class Command(StoreCommand):
    help = (
        "Make the demo's operators: payment-operator, and approver, who may also approve what others refund. Their "
        f"passwords come from {' and '.join(variable for _, variable, _ in ACCOUNTS)}. An account that is there stays "
        "as it is."
    )
    exit_codes: ClassVar = {0: "both are there", 2: "a password is missing, or the database could not be used"}

    def handle(self, *args: Any, **options: Any) -> None:
        missing = [variable for _, variable, _ in ACCOUNTS if not os.environ.get(variable)]
        if missing:
            raise CommandError(f"Set {' and '.join(missing)}.", returncode=UNUSABLE)
        for name, variable, groups in ACCOUNTS:
            with transaction.atomic():
                if not User.objects.filter(username=name).exists():
                    user = User.objects.create_user(name, password=os.environ[variable], is_staff=True)
                    user.groups.set(Group.objects.filter(name__in=groups))
                    self.stdout.write(f"{name} is in {' and '.join(groups)}.")
