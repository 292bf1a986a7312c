"""The handler of the Django workers in these tests: it does what the payload says, like ``peer.mjs``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django_jobqueue.context import JobContext
from tests.interop.node_peer import DEADLINE, Run


class HandlerFailed(RuntimeError):
    """What a job raises when it was asked to, with a ``code`` as errors of Node.js have."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Handler:
    """Does what each payload asks for, and remembers the runs.

    The payload ``{"do": action, …}`` names one of the methods below; its other fields are the arguments.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._lock = threading.Lock()
        self._held: dict[str, threading.Event] = {}
        self._actions: dict[str, Callable[..., Any]] = {
            "return": self._return,
            "throw": self._throw,
            "fail_first": self._fail_first,
            "hold": self._hold,
        }

    def __call__(self, job: JobContext) -> Any:
        self.runs.append(Run(job.id, job.attempts, job.payload))
        arguments = dict(job.payload)
        return self._actions[arguments.pop("do")](job, **arguments)

    def on(self, action: str, call: Callable[..., Any]) -> None:
        """Add an action that only one test needs; ``call`` gets the context and the arguments."""
        self._actions[action] = call

    def release(self, job_id: str) -> None:
        """Let a held job return."""
        self._gate(job_id).set()

    def _return(self, job: JobContext, value: Any) -> Any:
        return value

    def _throw(self, job: JobContext, message: str, code: str | None = None) -> Any:
        raise HandlerFailed(message, code)

    def _fail_first(self, job: JobContext, times: int, value: Any) -> Any:
        if job.attempts <= times:
            raise HandlerFailed(f"attempt {job.attempts} fails as asked")
        return value

    def _hold(self, job: JobContext, value: Any) -> Any:
        if not self._gate(job.id).wait(DEADLINE):
            raise HandlerFailed(f"job {job.id!r} was held and never released")
        return value

    def _gate(self, job_id: str) -> threading.Event:
        with self._lock:
            return self._held.setdefault(job_id, threading.Event())
