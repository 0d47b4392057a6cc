"""Settings of Django for tests; they hold for the whole process."""

import os
import tempfile

import pytest

pytest.importorskip("django")

import django
from django.conf import settings

#: A file, because a database in memory is one thread's.
DATABASE = os.path.join(tempfile.gettempdir(), f"syncws-{os.getpid()}.sqlite3")

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    SECRET_KEY="secret",
    USE_TZ=True,
)
django.setup()
