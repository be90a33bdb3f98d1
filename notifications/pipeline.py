"""The mails' part of the pipeline."""

from collections.abc import Iterator

from notifications.models import Message
from outbox.pipeline import Depth, WaitsFor, claim_depths, part


@part
def messages() -> Iterator[Depth]:
    """By status; sent and failed ones are not counted: that would read the whole table."""
    return claim_depths(
        Message,
        place="mails",
        unsettled="status IN ('pending', 'sending', 'ambiguous')",
        # The provider's word decides; after a day without it, a person.
        waits={f"{Message.Status.AMBIGUOUS}, later": WaitsFor.OTHERS},
    )
