from django.urls import path

from notifications import webhooks

urlpatterns = [path("webhooks/sendgrid/", webhooks.sendgrid, name="webhook-sendgrid")]
