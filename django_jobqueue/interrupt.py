"""Job timeouts: raise ``JobTimeout`` in a thread that has run too long."""

from __future__ import annotations

import ctypes
import heapq
import itertools
import threading
import time
from types import TracebackType

from .exceptions import JobTimeout


def timeout_message(job_id: str, seconds: float) -> str:
    """What ``JobTimeout`` says."""
    return f"job {job_id!r} ran longer than its timeout of {seconds:g} s; raise the timeout or split the job"


class Interrupter:
    """The thread that watches the deadlines of running jobs. ``_heap`` is guarded by ``_condition``.

    The exception is raised between two bytecodes of the job's thread. A job that sits in one long
    call of C code (a blocking read without timeout, ``time.sleep``, a numpy computation) gets it
    when that call returns.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, TimeLimit]] = []
        self._sequence = itertools.count()
        self._thread: threading.Thread | None = None

    def limit(self, job_id: str, seconds: float) -> TimeLimit:
        """A context manager whose body gets ``JobTimeout`` after ``seconds``."""
        return TimeLimit(self, job_id, seconds)

    def watch(self, limit: TimeLimit) -> None:
        """Interrupt a time limit's thread when its time is over. Called by ``TimeLimit``."""
        with self._condition:
            heapq.heappush(self._heap, (limit.deadline, next(self._sequence), limit))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobqueue-interrupter", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    self._condition.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                _, _, limit = heapq.heappop(self._heap)
            limit.expire()


class TimeLimit:
    """The time limit of one run. ``_active`` is guarded by ``_lock``."""

    def __init__(self, interrupter: Interrupter, job_id: str, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self._interrupter = interrupter
        self._thread_id = threading.get_ident()
        self._lock = threading.Lock()
        self._active = False
        # The exception is raised from its class alone, so the class carries the message.
        message = timeout_message(job_id, seconds)
        self._exception = type(
            JobTimeout.__name__,
            (JobTimeout,),
            {"__init__": lambda self: _set_message(self, message), "__module__": JobTimeout.__module__},
        )

    def __enter__(self) -> None:
        self._active = True
        self._interrupter.watch(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An exception that is on its way may still arrive anywhere in here. The job has ended
        # before it, so it is taken back or swallowed.
        while True:
            try:
                with self._lock:
                    self._active = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), None)
                return
            except JobTimeout:
                continue

    def expire(self) -> None:
        """Raise ``JobTimeout`` in the thread, unless the run has ended. Called by the interrupter."""
        with self._lock:
            if self._active:
                self._active = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread_id), ctypes.py_object(self._exception)
                )


def _set_message(error: JobTimeout, message: str) -> None:
    error.args = (message,)
