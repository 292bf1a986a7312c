"""A Django worker in a process of its own, so that it can be killed: ``python -m`` with URL and key prefix.

It runs the same handler as the workers in the tests' own process, one job at a time, without a reaper. It ends
with its stdin, so that it does not outlive the tests.
"""

from __future__ import annotations

import os
import sys
import threading

import django
from django.conf import settings


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main(url: str, key_prefix: str, visibility_timeout: str) -> None:
    """Work until killed."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    settings.JOBQUEUE = {
        "default": {
            "URL": url,
            "CACHE": None,
            "KEY_PREFIX": key_prefix,
            "VISIBILITY_TIMEOUT": float(visibility_timeout),
        }
    }
    django.setup()

    from django_jobqueue import queues
    from django_jobqueue.worker import Worker
    from tests.interop.handlers import Handler

    Worker(queues["default"], handler=Handler(), concurrency=1, reaper=False).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
