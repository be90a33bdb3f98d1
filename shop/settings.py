"""Settings, all of them from the environment; README.md lists every variable.

Importing this module has no effect and needs no variable (tools import it too). What production
must not run without is refused by `shop.checks`, which names the variable to set.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

# A copy: what files say must not enter the environment of this process, which its children inherit.
environ.Env.ENVIRON = {**os.environ}
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")
if "DATABASE_URL" not in env.ENVIRON:
    # `make demo` leaves its addresses here while it runs, so that commands typed beside it find the store.
    environ.Env.read_env(BASE_DIR / "var" / "demo" / "store.env")

# --- Django -------------------------------------------------------------------------------------

DEBUG = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="insecure-unset")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "outbox",
    "payments",
    "shop",
    "notifications",
]

MIDDLEWARE = [
    "shop.middleware.DatabaseUnavailableMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "shop.middleware.ContentSecurityPolicyMiddleware",
    "shop.middleware.NoNulMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop.middleware.TraceMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.context_processors.store",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
# At the admin: to the second, as one reads beside a log.
DATETIME_FORMAT = "Y-m-d H:i:s"

STATIC_URL = "static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Static files are small and few: served from the apps themselves, with no collecting step to forget.
WHITENOISE_USE_FINDERS = True

# --- PostgreSQL ---------------------------------------------------------------------------------

# Seconds. A session whose host vanished without a word must not hold the log's head or a cursor for the
# two hours that PostgreSQL's defaults allow; nothing the store does in one statement or between two
# statements of one transaction takes anywhere near these.
_SESSION_SETTINGS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "45s",
}

_database = env.db_url("DATABASE_URL", default="postgresql:///store")

DATABASES = {
    "default": {
        **_database,
        "HOST": unquote(_database["HOST"]),  # a unix socket's folder travels percent-encoded in a URL
        "ENGINE": "django.db.backends.postgresql",
        # Seconds. Long enough that no loop reconnects at each turn, short enough to follow a failover.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            "connect_timeout": 5,
            # At once, what asks for it (outbox/prepared.py); Django's own cursors never do.
            "prepare_threshold": 0,
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items()),
        },
    }
}

# --- The store ----------------------------------------------------------------------------------

# The public base address of the store: the bank sends customers back here, mails link here.
STORE_ADDRESS = env.str("STORE_ADDRESS", default="http://127.0.0.1:8000").rstrip("/")
STORE_NAME = env.str("STORE_NAME", default="Harbour & Pine")
# ISO 4217; the one currency of every price, order and payment.
STORE_CURRENCY = env.str("STORE_CURRENCY", default="EUR").upper()
# Minutes a shopper has to confirm a payment or to give another card before the goods are released.
HOLD_MINUTES = env.int("HOLD_MINUTES", default=60)

# Cards that may be tried (shop/limits.py): by one client address and in one session within an hour, and by all
# shoppers together within a minute. 0: no limit.
CARD_TRIES_PER_ADDRESS = env.int("CARD_TRIES_PER_ADDRESS", default=30)
CARD_TRIES_PER_SESSION = env.int("CARD_TRIES_PER_SESSION", default=10)
CARD_TRIES_GLOBAL = env.int("CARD_TRIES_GLOBAL", default=120)
# Minutes without charges after which the store takes no orders (shop/intake.py). 0: it always takes them.
INTAKE_STOP_MINUTES = env.int("INTAKE_STOP_MINUTES", default=10)

# Acceptance rules (shop/acceptance.py). Amounts in minor units; 0 switches a rule off.
REVIEW_ORDERS_ABOVE = env.int("REVIEW_ORDERS_ABOVE", default=200_000)
REJECT_ORDERS_ABOVE = env.int("REJECT_ORDERS_ABOVE", default=2_000_000)
# More orders than this of one e-mail address, or to one delivery address, within an hour wait for a person.
REVIEW_ORDERS_PER_EMAIL = env.int("REVIEW_ORDERS_PER_EMAIL", default=10)
REVIEW_ORDERS_PER_ADDRESS = env.int("REVIEW_ORDERS_PER_ADDRESS", default=20)
SHIPPING_COUNTRIES = env.list("SHIPPING_COUNTRIES", default=["AT", "BE", "DE", "DK", "FR", "IE", "NL", "SE"])

# An outside service that has a word about larger orders (shop/screening.py); no address: nobody is asked.
SCREENING_URL = env.str("SCREENING_URL", default="").rstrip("/")
SCREENING_API_KEY = env.str("SCREENING_API_KEY", default="")
# Minor units; 0: no order is screened.
SCREENING_ABOVE = env.int("SCREENING_ABOVE", default=50_000)
# Seconds for one call; minutes until an unanswered question is left to a person.
SCREENING_TIMEOUT = env.float("SCREENING_TIMEOUT", default=15.0)
SCREENING_PATIENCE_MINUTES = env.int("SCREENING_PATIENCE_MINUTES", default=60)

# --- Payments -----------------------------------------------------------------------------------

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_PUBLISHABLE_KEY = env.str("STRIPE_PUBLISHABLE_KEY", default="")
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="https://api.stripe.com").rstrip("/")
STRIPE_JS_URL = env.str("STRIPE_JS_URL", default="https://js.stripe.com/v3/")
# Several, separated by commas, while a secret is being rotated.
STRIPE_WEBHOOK_SECRET = env.list("STRIPE_WEBHOOK_SECRET", default=[])

# Seconds; must exceed the deadlines of all calls of one claim (a system check does the sum).
PAYMENT_LEASE_SECONDS = env.int("PAYMENT_LEASE_SECONDS", default=90)
# Calls to the bank under way at once in one worker process.
PAYMENT_IN_FLIGHT = env.int("PAYMENT_IN_FLIGHT", default=16)
# Seconds: to connect, to wait for the next byte, and for one call as a whole.
PAYMENT_CONNECT_TIMEOUT = env.float("PAYMENT_CONNECT_TIMEOUT", default=3.0)
PAYMENT_READ_TIMEOUT = env.float("PAYMENT_READ_TIMEOUT", default=10.0)
PAYMENT_CALL_DEADLINE = env.float("PAYMENT_CALL_DEADLINE", default=15.0)
# Seconds until what the bank says of an intent is taken as settled after a doubtful call.
PAYMENT_SETTLE_SECONDS = env.float("PAYMENT_SETTLE_SECONDS", default=30.0)
# Calls to the bank a second, of all workers together, and how many may be made at once after a rest; 0: no limit.
# Stripe lets 25 a second through in test mode, and to one endpoint in live mode (docs.stripe.com/rate-limits).
PAYMENT_CALLS_PER_SECOND = env.float("PAYMENT_CALLS_PER_SECOND", default=20.0)
PAYMENT_CALL_BURST = env.int("PAYMENT_CALL_BURST", default=5)

# A person's refund above this (minor units) waits for a second person; 0: never.
REFUND_APPROVAL_ABOVE = env.int("REFUND_APPROVAL_ABOVE", default=10_000)

# --- Mail ---------------------------------------------------------------------------------------

SENDGRID_API_KEY = env.str("SENDGRID_API_KEY", default="")
SENDGRID_API_BASE = env.str("SENDGRID_API_BASE", default="https://api.sendgrid.com").rstrip("/")
SENDGRID_WEBHOOK_PUBLIC_KEY = env.str("SENDGRID_WEBHOOK_PUBLIC_KEY", default="")
# The provider's dynamic templates, by ours: {"order_confirmed": "d-…"}. Others are sent as we write them.
SENDGRID_TEMPLATES = env.json("SENDGRID_TEMPLATES", default={})
MAIL_FROM = env.str("MAIL_FROM", default="orders@store.example")
# Seconds for one call to the mail provider; calls under way at once in one worker process.
MAIL_TIMEOUT = env.float("MAIL_TIMEOUT", default=15.0)
MAIL_IN_FLIGHT = env.int("MAIL_IN_FLIGHT", default=4)
MAIL_LEASE_SECONDS = env.int("MAIL_LEASE_SECONDS", default=60)

# --- Workers ------------------------------------------------------------------------------------

# A folder for the doorbells of this machine's workers (unix sockets); "off": workers only poll.
DOORBELL_DIR = env.str("DOORBELL_DIR", default="")
# Days that delivered events are kept before purge_outbox may delete them.
OUTBOX_RETENTION_DAYS = env.int("OUTBOX_RETENTION_DAYS", default=90)

# django-q2 only looks at the clock here; ownership of work is always in the store's own rows, so a task
# that runs twice does no harm. `retry > timeout >` a task's budget (50 s, shop/schedules.py), or a slow task would be
# started again while it runs.
Q_CLUSTER = {
    "name": "store",
    "orm": "default",
    "workers": 2,
    "timeout": 120,
    "retry": 180,
    "max_attempts": 1,
    "catch_up": False,
    "poll": 0.5,
    "save_limit": 200,
    "label": "Schedules",
}

# --- Security -----------------------------------------------------------------------------------

# Off only where the store is tried out on one machine; a live Stripe key refuses to run without it.
STORE_HTTPS = env.bool("STORE_HTTPS", default=True)

SESSION_ENGINE = "shop.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = STORE_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if STORE_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = STORE_HTTPS
# A proxy of ours says in headers whether HTTPS was used and from which address; nobody else is believed.
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"  # an order's unguessable address never leaves in a Referer
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [STORE_ADDRESS]
X_FRAME_OPTIONS = "DENY"
# Bytes and fields: no form of the store comes near.
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

_origin = urlsplit(STRIPE_JS_URL)
# The one foreign origin: the card field belongs to the payment provider, so that no card number touches the store.
_CARD_FIELD = f"{_origin.scheme}://{_origin.netloc}"
CONTENT_SECURITY_POLICY = {
    "default-src": ["'none'"],
    "script-src": ["'self'", _CARD_FIELD],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'", _CARD_FIELD, STRIPE_API_BASE],
    "frame-src": [_CARD_FIELD],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}

# --- Logs and metrics ---------------------------------------------------------------------------------------

# `text` for people, `json` for what collects logs.
LOG_FORMAT = env.str("LOG_FORMAT", default="text")
# A bearer token for /metrics; empty: there is no such page.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "outbox.logs.JsonFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {"django_q": {"level": "WARNING"}, "stripe": {"level": "WARNING"}},
}
