"""The jobs that the workers run."""

from __future__ import annotations

import time
from typing import Any

from django_jobqueue import job

#: Steps of one ``compute``: some milliseconds of pure Python.
STEPS = 50_000


@job
def nothing(*args: Any) -> None:
    """Do nothing."""


@job
def sleep(seconds: float) -> None:
    """Wait, as for a slow service."""
    time.sleep(seconds)


@job
def compute() -> int:
    """Hold the interpreter for some milliseconds."""
    total = 0
    for n in range(STEPS):
        total += n * n % 7
    return total


@job
def moment() -> int:
    """When the job began, by the clock that all processes of the machine share, in ns."""
    return time.monotonic_ns()


def call(name: str, *args: Any) -> dict[str, Any]:
    """The payload of a call of one of these."""
    return {"job": f"{__name__}.{name}", "args": list(args), "kwargs": {}}
