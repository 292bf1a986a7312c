"""Settings of the example site: plain Django, one added app and one queue.

Everything a deployment may want to change is read from the environment, so that ``demo.py`` can
run this same site on a server and a database of its own.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "only-for-trying-this-example-on-your-own-machine")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_jobqueue",
    "codeindex",
]

# JOBQUEUE_STORAGE=file keeps the jobs in jobqueue.sqlite3 beside manage.py, and needs no server.
QUEUE_STORAGES = {
    "redis": "django_jobqueue.storage.redis.RedisStorage",
    "file": "django_jobqueue.storage.file.FileStorage",
}

JOBQUEUE = {
    "default": {
        "STORAGE": QUEUE_STORAGES[os.environ.get("JOBQUEUE_STORAGE", "redis")],
        "PATH": os.environ.get("JOBQUEUE_PATH"),
        "URL": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        "KEY_PREFIX": os.environ.get("JOBQUEUE_KEY_PREFIX", "codeindex:"),
        # How long a killed worker's jobs wait before another worker has them: at most 1.5 times this.
        "VISIBILITY_TIMEOUT": float(os.environ.get("JOBQUEUE_VISIBILITY_TIMEOUT", "30")),
    },
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE_PATH", BASE_DIR / "db.sqlite3"),
        # SQLite has one writer at a time. With these three, the threads of several workers take
        # turns: readers are never blocked, a transaction asks for the write lock when it begins
        # (asking later can fail at once with "database is locked"), and it waits for its turn.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

ROOT_URLCONF = "site_config.urls"
WSGI_APPLICATION = "site_config.wsgi.application"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static_files"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
