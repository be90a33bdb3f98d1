from django.contrib import admin
from django.urls import path

from outbox.operation_views import operate

urlpatterns = [
    path("<str:label>/<str:pk>/<slug:name>/", admin.site.admin_view(operate), name="operate"),
]
