from django.urls import path

from outbox import views

urlpatterns = [
    path("feeds/<slug:name>", views.page, name="feed"),
    path("feeds/<slug:name>/ack", views.acknowledge, name="feed-ack"),
]
