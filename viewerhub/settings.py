"""Settings of ViewerHub, all from the environment. The table is in README.md.

Without any configuration the hub runs embedded: SQLite and generated secrets under
``var/``, loopback only. ``VIEWERHUB_PRODUCTION=true`` refuses to start without real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from viewerhub import logs, navigation
from viewerhub.env import (
    env,
    generated_secret,
    hosts_and_networks,
    https_origins,
    identity_providers,
    networks,
    origin_of,
    require,
    text,
)

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

VIEWERHUB_DATA_DIR = Path(text("VIEWERHUB_DATA_DIR", str(BASE_DIR / "var"))).absolute()


def _secret(name: str) -> str:
    return text(name) or generated_secret(VIEWERHUB_DATA_DIR / f"{name.lower()}.secret")


# Addresses

VIEWERHUB_PUBLIC_URL = text("VIEWERHUB_PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
if origin_of(VIEWERHUB_PUBLIC_URL) != VIEWERHUB_PUBLIC_URL:
    raise ImproperlyConfigured(
        "VIEWERHUB_PUBLIC_URL is the address users and viewers reach the hub at, such as "
        "https://viewerhub.example.org, without a path."
    )
IS_HTTPS = VIEWERHUB_PUBLIC_URL.startswith("https:")
# Loopback always: that is where containers and process managers ask for /livez.
ALLOWED_HOSTS = [
    *env.list("ALLOWED_HOSTS", default=["localhost"]),
    "127.0.0.1",
    "[::1]",
]
CSRF_TRUSTED_ORIGINS = [VIEWERHUB_PUBLIC_URL]

# Who may launch by URL without a login: CIDR ranges. The address of the client, and that
# it came by https, is what uvicorn says: behind a proxy, set its FORWARDED_ALLOW_IPS.
VIEWERHUB_TRUSTED_NETWORKS = networks("VIEWERHUB_TRUSTED_NETWORKS")
# Pages of viewers that may ask the gateway for images, by DICOMweb and with a token.
VIEWERHUB_GATEWAY_ORIGINS = https_origins("VIEWERHUB_GATEWAY_ORIGINS")
# Who may read /metrics.
VIEWERHUB_METRICS_NETWORKS = networks(
    "VIEWERHUB_METRICS_NETWORKS", "" if PRODUCTION else "127.0.0.0/8,::1/128"
)

# Where the hub may connect to for archives and their token servers. Nothing means every
# address but some that no archive has. In production, what listens on loopback are the
# hub itself and what its operator keeps off the network: an archive there has to be named.
VIEWERHUB_OUTGOING_NETWORKS = hosts_and_networks("VIEWERHUB_OUTGOING_NETWORKS")
VIEWERHUB_OUTGOING_LOOPBACK = not PRODUCTION

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
    "django.contrib.humanize",  # for allauth's list of security keys
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
    "ninja",
    "viewerhub",
    "archives",
    "launcher",
]

MIDDLEWARE = [
    "launcher.middleware.viewer_requests",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "viewerhub.policy.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "viewerhub.middleware.RequestLogMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
    "viewerhub.middleware.NotReadyMiddleware",
]
if env.bool("VIEWERHUB_REQUIRE_MFA", default=False):
    MIDDLEWARE.append("viewerhub.middleware.require_mfa")

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
    # Opening the file costs more than most requests ask of it.
    _database["CONN_MAX_AGE"] = None
    CELERY_DB_REUSE_MAX = 1000
    _database["OPTIONS"] = {
        # Readers never wait for the writer, and writers queue instead of failing.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
else:
    # Connections that the server closed, in a restart say, are replaced before use.
    _database["CONN_HEALTH_CHECKS"] = True
    _database.setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": env.int("VIEWERHUB_DATABASE_POOL", default=16),
    }

# Redis: broker, cache, events and built manifests. The embedded server of `manage.py
# demo` leaves its address in the data directory, so that other commands find it.


def _redis_url() -> str:
    given = text("VIEWERHUB_REDIS_URL")
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
        "OPTIONS": {"serializer": "viewerhub.cache.JsonSerializer"},
    }
}

# An archive that nobody has asked for so many seconds is asked by the hub itself, to know
# how it is doing; 0: never.
VIEWERHUB_ARCHIVE_CHECK_SECONDS = env.int(
    "VIEWERHUB_ARCHIVE_CHECK_SECONDS", default=300
)

# Launches, in seconds

VIEWERHUB_MANIFEST_DEADLINE = env.float("VIEWERHUB_MANIFEST_DEADLINE", default=25.0)
VIEWERHUB_BUILD_TIMEOUT = env.float("VIEWERHUB_BUILD_TIMEOUT", default=110.0)
VIEWERHUB_LAUNCH_LIFETIME = env.int("VIEWERHUB_LAUNCH_LIFETIME", default=12 * 3600)
VIEWERHUB_LAUNCH_HISTORY_DAYS = env.int("VIEWERHUB_LAUNCH_HISTORY_DAYS", default=90)
# How far ahead a signed link may expire: as long as the hub remembers that it was used.
VIEWERHUB_SIGNED_LINK_LIFETIME = env.int("VIEWERHUB_SIGNED_LINK_LIFETIME", default=300)
VIEWERHUB_SEARCH_LIFETIME = env.int("VIEWERHUB_SEARCH_LIFETIME", default=8 * 3600)
# Whether archives are asked for a study as soon as a user points at its button.
VIEWERHUB_BUILD_AHEAD = env.bool("VIEWERHUB_BUILD_AHEAD", default=False)
VIEWERHUB_SEARCH_LIMIT = env.int("VIEWERHUB_SEARCH_LIMIT", default=100)

# Images that archives send ahead of the requests: on disk, for a short time.
# Web servers and the storage service (C-MOVE) of a machine share the directory.

VIEWERHUB_IMAGE_CACHE_DIR = Path(
    text("VIEWERHUB_IMAGE_CACHE_DIR", str(VIEWERHUB_DATA_DIR / "images"))
).absolute()
VIEWERHUB_IMAGE_CACHE_MB = env.int("VIEWERHUB_IMAGE_CACHE_MB", default=2048)  # 0: off
VIEWERHUB_IMAGE_CACHE_SECONDS = env.float("VIEWERHUB_IMAGE_CACHE_SECONDS", default=900)
VIEWERHUB_STORAGE_AE_TITLE = text("VIEWERHUB_STORAGE_AE_TITLE", "VIEWERHUB")
VIEWERHUB_STORAGE_HOST = text("VIEWERHUB_STORAGE_HOST", "0.0.0.0")  # noqa: S104
VIEWERHUB_STORAGE_PORT = env.int("VIEWERHUB_STORAGE_PORT", default=11112)

# Celery: tasks carry ids only, and may be delivered twice

CELERY_BROKER_URL = VIEWERHUB_REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A task is delivered again after this time: longer than the longest build.
    "visibility_timeout": int(VIEWERHUB_BUILD_TIMEOUT) + 70,
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
    "watch-archives": {"task": "archives.tasks.watch_archives", "schedule": 30.0},
}

# Login: local accounts; OIDC providers by configuration, see docs/security.md

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "viewerhub.accounts.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "viewerhub.accounts.SocialAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True  # for SESSION_COOKIE_AGE; nobody is asked
ACCOUNT_FORMS = {"login": "viewerhub.forms.LoginForm"}
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
_providers = identity_providers("VIEWERHUB_OIDC_PROVIDERS")
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": _providers}
}
VIEWERHUB_OIDC_CREATE_USERS = env.bool("VIEWERHUB_OIDC_CREATE_USERS", default=True)
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
SECURE_HSTS_SECONDS = env.int(
    "SECURE_HSTS_SECONDS", default=365 * 86400 if IS_HTTPS else 0
)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Browsers apply form-action to where a form is redirected to, too.
_login_origins = [
    origin_of(provider["settings"]["server_url"]) for provider in _providers
]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, "weasis:", *_login_origins],
        "frame-src": ["weasis:"],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

# The admin's scripts compile expressions in its pages (Alpine), and its pages carry their
# colours in a style element. Still nothing comes from anywhere else, nor inline scripts.
VIEWERHUB_ADMIN_POLICY = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
    "form-action": [SELF],
    "frame-src": [NONE],
}

# Language, time, static files

LANGUAGE_CODE = "en"  # of whoever names none of these, and of programs
LANGUAGES = [("en", _("English")), ("fr", _("French")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "viewerhub" / "locale"]
FORMAT_MODULE_PATH = "viewerhub.formats"
LANGUAGE_COOKIE_NAME = "language"
LANGUAGE_COOKIE_AGE = 365 * 86400
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = IS_HTTPS
TIME_ZONE = text("TIME_ZONE", "UTC")
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
    "SITE_ICON": lambda request: static("viewerhub/logo.svg"),
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("viewerhub/logo.svg"),
        }
    ],
    "SHOW_LANGUAGES": True,
    "STYLES": [lambda request: static("viewerhub/admin.css")],
    "COMMAND": {"search_models": False},
    "SIDEBAR": {"navigation": navigation.SIDEBAR},
}

# Logs; uvicorn writes its own access lines, with query strings, unless it is started
# with --no-access-log

logs.configure()
LOGGING = logs.logging_settings(text("VIEWERHUB_LOG_LEVEL", "INFO").upper())
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = 10  # DEBUG: the end of a request is enough

# Mail, for password resets; none is sent unless a server is named

vars().update(env.email_url("EMAIL_URL", default="dummymail://"))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = text("DEFAULT_FROM_EMAIL", "viewerhub@localhost")
