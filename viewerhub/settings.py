"""Settings of ViewerHub, all from the environment. The table is in README.md.

Without any configuration the hub runs embedded: SQLite and generated secrets under
``var/``, loopback only. ``VIEWERHUB_PRODUCTION=true`` refuses to start without real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from viewerhub.env import env, generated_secret, require

BASE_DIR = Path(__file__).resolve().parent.parent
PRODUCTION = env.bool("VIEWERHUB_PRODUCTION", default=False)
DEBUG = env.bool("DEBUG", default=False)

if PRODUCTION:
    require(
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "DATABASE_URL",
        "VIEWERHUB_ENCRYPTION_KEYS",
        "VIEWERHUB_PUBLIC_URL",
        "VIEWERHUB_REDIS_URL",
    )
    if DEBUG:
        raise ImproperlyConfigured(
            "DEBUG shows patient data in error pages. Unset it in production."
        )

# Where the embedded database, its secrets and its logs live

VIEWERHUB_DATA_DIR = Path(env.str("VIEWERHUB_DATA_DIR", default="") or BASE_DIR / "var")


def _secret(name: str) -> str:
    return env.str(name, default="") or generated_secret(
        VIEWERHUB_DATA_DIR / f"{name.lower()}.secret"
    )


# Addresses

VIEWERHUB_PUBLIC_URL = env.str(
    "VIEWERHUB_PUBLIC_URL", default="http://127.0.0.1:8000"
).rstrip("/")
_public = urlsplit(VIEWERHUB_PUBLIC_URL)
if _public.scheme not in {"http", "https"} or not _public.hostname or _public.query:
    raise ImproperlyConfigured(
        "VIEWERHUB_PUBLIC_URL is the address users and viewers reach the hub at, such as "
        "https://viewerhub.example.org."
    )
IS_HTTPS = _public.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

# Who may launch by URL without a login: CIDR ranges. Behind a proxy, start uvicorn with
# --proxy-headers and --forwarded-allow-ips so that the client's own address is seen.
VIEWERHUB_TRUSTED_NETWORKS = env.list("VIEWERHUB_TRUSTED_NETWORKS", default=[])

# Secrets

SECRET_KEY = _secret("SECRET_KEY")
# Key ring for archive credentials; the first key encrypts, all decrypt.
VIEWERHUB_ENCRYPTION_KEYS = env.list("VIEWERHUB_ENCRYPTION_KEYS", default=[]) or [
    _secret("VIEWERHUB_ENCRYPTION_KEYS")
]
if PRODUCTION and min(map(len, [SECRET_KEY, *VIEWERHUB_ENCRYPTION_KEYS])) < 32:
    raise ImproperlyConfigured(
        "SECRET_KEY and each of VIEWERHUB_ENCRYPTION_KEYS need at least 32 characters."
    )

# Applications

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "csp",
    "django_htmx",
    "django_prometheus",
    "django_structlog",
    "health_check",
    "viewerhub",
    "archives",
    "launcher",
]

MIDDLEWARE = [
    "launcher.middleware.viewer_requests",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "viewerhub.urls"
ASGI_APPLICATION = "viewerhub.asgi.application"
WSGI_APPLICATION = "viewerhub.wsgi.application"

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
                "csp.context_processors.nonce",
            ],
        },
    },
]

# Database

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db(
        "DATABASE_URL", default=f"sqlite:///{VIEWERHUB_DATA_DIR / 'viewerhub.sqlite3'}"
    )
}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    VIEWERHUB_DATA_DIR.mkdir(parents=True, exist_ok=True)
    _database["OPTIONS"] = {
        # Readers never wait for the writer, and writers queue instead of failing.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
else:
    _database.setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": env.int("VIEWERHUB_DATABASE_POOL", default=16),
    }

# Redis: broker, cache, events and built manifests. The embedded server of `manage.py
# demo` leaves its address in the data directory, so that other commands find it.


def _redis_url() -> str:
    given = env.str("VIEWERHUB_REDIS_URL", default="")
    embedded = VIEWERHUB_DATA_DIR / "redis.url"
    if not given and embedded.exists():
        given = embedded.read_text().strip()
    return given or "redis://127.0.0.1:6379/0"


VIEWERHUB_REDIS_URL = _redis_url()
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": VIEWERHUB_REDIS_URL,
        "KEY_PREFIX": "viewerhub:cache",
    }
}

# Celery: tasks carry ids only, and may be delivered twice

CELERY_BROKER_URL = VIEWERHUB_REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 180,  # longer than the longest build
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "max_retries": 1,
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "viewerhub"
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULE_FILENAME = str(VIEWERHUB_DATA_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = {
    "sweep-launches": {"task": "launcher.tasks.sweep_launches", "schedule": 15.0},
}

# Launches, in seconds

VIEWERHUB_MANIFEST_DEADLINE = env.float("VIEWERHUB_MANIFEST_DEADLINE", default=25.0)
VIEWERHUB_BUILD_TIMEOUT = env.float("VIEWERHUB_BUILD_TIMEOUT", default=110.0)
VIEWERHUB_LAUNCH_LIFETIME = env.int("VIEWERHUB_LAUNCH_LIFETIME", default=12 * 3600)
VIEWERHUB_LAUNCH_HISTORY_DAYS = env.int("VIEWERHUB_LAUNCH_HISTORY_DAYS", default=90)
VIEWERHUB_SEARCH_LIFETIME = env.int("VIEWERHUB_SEARCH_LIFETIME", default=8 * 3600)
VIEWERHUB_SEARCH_LIMIT = env.int("VIEWERHUB_SEARCH_LIMIT", default=100)

# Login: local accounts; OIDC providers by configuration, see docs/security.md

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "viewerhub.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
SOCIALACCOUNT_PROVIDERS = env.json("VIEWERHUB_OIDC_PROVIDERS", default={})
SOCIALACCOUNT_ONLY = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Security headers and cookies

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_NAME = "__Host-session" if IS_HTTPS else "viewerhub-session"
CSRF_COOKIE_NAME = "__Host-csrf" if IS_HTTPS else "viewerhub-csrf"
SESSION_COOKIE_AGE = env.int("VIEWERHUB_SESSION_LIFETIME", default=12 * 3600)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=IS_HTTPS)
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https")
    if env.bool("VIEWERHUB_BEHIND_TLS_PROXY", default=False)
    else None
)
SECURE_HSTS_SECONDS = env.int(
    "SECURE_HSTS_SECONDS", default=365 * 86400 if IS_HTTPS else 0
)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, "weasis:"],
        "frame-src": ["weasis:"],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

# Language, time, static files

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = USE_TZ = True
USE_THOUSAND_SEPARATOR = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "viewerhub" / "static"]
STORAGES = {
    "staticfiles": {
        "BACKEND": (
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
            if PRODUCTION
            else "django.contrib.staticfiles.storage.StaticFilesStorage"
        )
    },
}
WHITENOISE_USE_FINDERS = not PRODUCTION

# Admin

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "ViewerHub",
    "SITE_HEADER": "ViewerHub",
    "SITE_URL": "/",
    "STYLES": [lambda request: static("viewerhub/admin.css")],
    "COMMAND": {"search_models": False},
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Imaging",
                "items": [
                    {
                        "title": title,
                        "icon": icon,
                        "link": reverse_lazy(f"admin:{name}_changelist"),
                    }
                    for title, icon, name in (
                        ("Archives", "storage", "archives_archive"),
                        ("Launch templates", "tune", "launcher_launchtemplate"),
                        ("Launches", "open_in_new", "launcher_launch"),
                        ("API clients", "key", "launcher_apiclient"),
                    )
                ],
            },
            {
                "title": "People",
                "items": [
                    {
                        "title": title,
                        "icon": icon,
                        "link": reverse_lazy(f"admin:{name}_changelist"),
                    }
                    for title, icon, name in (
                        ("Users", "person", "auth_user"),
                        ("Groups", "group", "auth_group"),
                    )
                ],
            },
        ]
    },
}

# Logs: one JSON object a line, ids only. Query strings carry patient IDs, so they are
# never logged; neither are uvicorn's access lines (start it with --no-access-log).

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "processor": structlog.processors.JSONRenderer(),
            "foreign_pre_chain": [
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {
        "handlers": ["console"],
        "level": env.str("VIEWERHUB_LOG_LEVEL", default="INFO"),
    },
    "loggers": {
        name: {"level": "WARNING"}
        for name in ("httpx2", "httpcore2", "pynetdicom", "pydicom", "celery.app.trace")
    },
}
DJANGO_STRUCTLOG_CELERY_ENABLED = True
