"""The mail loop."""

from notifications.models import Message
from notifications.worker import make_engine
from outbox import registry

registry.loop(Message.BELL, group="messages", make=make_engine)
