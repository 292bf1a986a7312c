#!/usr/bin/env python
"""Run the tests against real Redis and Valkey servers, after checking that they can run here.

    python runtests.py [pytest arguments]

Everything runs but the tests that need a container engine; those run with ``-m docker``.
"""

import platform
import sys
from importlib.metadata import version

OLDEST_PYTHON = (3, 11)
OLDEST_DJANGO = (5, 2)


def main(arguments: list[str]) -> int:
    """Check the environment, say what it is, and return pytest's exit status (2 when it cannot run)."""
    try:
        print(environment(), flush=True)
    except CannotRun as problem:
        print(f"runtests: {problem}", file=sys.stderr)
        return 2

    import pytest

    return int(pytest.main(arguments))


class CannotRun(Exception):
    """Something that the tests need is missing or too old."""


def environment() -> str:
    """Return one line with the versions the tests are about to run with.

    Raises:
        CannotRun: one of them is missing or too old.
    """
    if sys.version_info < OLDEST_PYTHON:
        raise CannotRun(f"Python {platform.python_version()} is too old; use 3.11 or newer")
    try:
        import django

        from tests.servers import ServerNotFound, binary_version, find_binary
    except ImportError as error:
        raise CannotRun(f"{error}; run: pip install -e '.[test]' (or: make test)") from error
    if django.VERSION < OLDEST_DJANGO:
        raise CannotRun(f"Django {django.get_version()} is too old; use 5.2 or newer")
    try:
        servers = [binary_version(find_binary(kind)) for kind in ("redis", "valkey")]
    except ServerNotFound as error:
        raise CannotRun(str(error)) from error

    packages = [
        f"Python {platform.python_version()}",
        f"Django {django.get_version()}",
        f"redis-py {version('redis')}",
        f"django-redis {version('django-redis')}",
    ]
    return ", ".join(packages + servers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
