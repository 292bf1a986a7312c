"""Settings of every process of the benchmark; server and file are named in the environment."""

import os

# What the admin needs.
from tests.settings import MIDDLEWARE as MIDDLEWARE
from tests.settings import TEMPLATES as TEMPLATES

from .environment import FILE_VARIABLE, URL_VARIABLE

SECRET_KEY = "for the benchmark only"
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "benchmarks.speed.urls"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_jobqueue",
    "benchmarks.speed",
]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

_URL = os.environ.get(URL_VARIABLE, "redis://127.0.0.1:1/0")

#: Queues on the server: ours, the one of the floor, and those that are filled to three depths.
SERVED = ("default", "bare", "small", "medium", "large")

JOBQUEUE = {
    **{alias: {"CACHE": None, "URL": _URL, "KEY_PREFIX": f"{alias}:"} for alias in SERVED},
    "file": {
        "STORAGE": "django_jobqueue.storage.file.FileStorage",
        "PATH": os.environ.get(FILE_VARIABLE, "jobqueue-benchmark.sqlite3"),
    },
    "memory": {"STORAGE": "django_jobqueue.storage.memory.MemoryStorage"},
}
