"""The soak's only job, which does as its kind says."""

from __future__ import annotations

import functools
import os
import time

from django_jobqueue import JobContext, job

from .journal import Journal

#: Enough for every stall that a job can meet, so that only those fail that are told to.
MAX_ATTEMPTS = 12


class ToldToFail(Exception):
    """The job was told to fail in this attempt."""


@functools.cache
def _runs() -> Journal:
    return Journal("runs")


@job(takes_context=True, max_attempts=MAX_ATTEMPTS)
def work(context: JobContext, kind: str, seconds: float, failures: int) -> str:
    """Run for some time; fail in the first ``failures`` attempts; as poison, end the process."""
    _runs().note("begin", context.id, context.attempts)
    if kind == "poison":
        os._exit(17)
    time.sleep(seconds)
    if context.attempts <= failures:
        _runs().note("raise", context.id, context.attempts)
        raise ToldToFail(f"attempt {context.attempts} of {context.id}")
    _runs().note("end", context.id, context.attempts)
    return context.id
