from django.urls import path

from payments import webhooks

urlpatterns = [path("webhooks/stripe/", webhooks.stripe, name="webhook-stripe")]
