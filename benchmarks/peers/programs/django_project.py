"""A Django project with two peers' queues and nothing else: its settings."""

from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.programs import telling

_parts = conninfo_to_dict(telling.url())
SECRET_KEY = "benchmarks"  # noqa: S105 - nothing is secret here
USE_TZ = True
LOGGING_CONFIG = None
INSTALLED_APPS = ["django_q", "django_tasks", "django_tasks_db"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _parts["dbname"],
        "USER": _parts.get("user", ""),
        "PASSWORD": _parts.get("password", ""),
        "HOST": _parts.get("host", ""),
        "PORT": _parts.get("port", ""),
        "CONN_MAX_AGE": None,  # both peers close old connections around each job; a new one for each is nobody's wish
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
Q_CLUSTER = {
    "name": "noop",
    "orm": "default",
    "workers": 2,
    "bulk": 100,  # jobs that are fetched at once
    "queue_limit": 200,
    "poll": 0.05,
    "save_limit": -1,  # what succeeded is not kept
    "recycle": 1_000_000,  # no worker is replaced while it is measured
    "retry": 600,
    "timeout": 500,
    "log_level": "WARNING",
}
