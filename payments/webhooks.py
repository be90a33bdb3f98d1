"""The bank's webhook. It answers in milliseconds: the event is kept, its row is nudged, a worker does the rest."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from outbox import webhooks
from payments import bank_events, gateways
from payments.gateways.base import BankNotice

# Bytes. An event carries one object of the bank; a few kilobytes are usual.
LONGEST_BODY = 256 * 1024


@csrf_exempt  # the bank has no session; its signature says who it is
@require_POST
def stripe(request: HttpRequest) -> HttpResponse:
    return webhooks.answer(
        request,
        key_setting="STRIPE_WEBHOOK_SECRET",
        longest=LONGEST_BODY,
        read=gateways.read_webhook,
        store=_keep,
    )


def _keep(notice: BankNotice) -> None:
    bank_events.store(notice)
