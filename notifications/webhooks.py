"""The mail provider's webhook: batches of events about mails."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from notifications import mail_events, mailers
from outbox import webhooks

# Bytes. SendGrid sends a batch every 30 seconds, or at 768 KB.
LONGEST_BODY = 1024 * 1024


@csrf_exempt  # the provider has no session; its signature says who it is
@require_POST
def sendgrid(request: HttpRequest) -> HttpResponse:
    return webhooks.answer(
        request,
        key_setting="SENDGRID_WEBHOOK_PUBLIC_KEY",
        longest=LONGEST_BODY,
        read=mailers.read_webhook,
        store=mail_events.store,
    )
