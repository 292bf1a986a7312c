"""How a process hears that it should stop: by signals, and by the word of its supervisor.

A person or the system sends SIGTERM or SIGINT. A supervisor speaks through a pipe instead: a
terminal's Ctrl-C and systemd signal every process of a group, so that a child would hear a signal
twice if its supervisor sent it on, and take it for the second one.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

#: What asks a process to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: How urgently: let running jobs finish, or give them back at once.
GRACEFULLY, AT_ONCE = 1, 2

_DONE = 0


class SignalPipe:
    """Signals of some kinds, as bytes to be read. Read by the main thread."""

    def __init__(self, read: int, write: int, kinds: frozenset[int]) -> None:
        self._read, self._write, self._kinds = read, write, kinds

    def wait(self, timeout: float | None = None, *others: int) -> tuple[list[int], list[int]]:
        """Wait for signals, a ``post``, or something to read elsewhere.

        Args:
            timeout: seconds; ``None`` for no limit.
            others: further file descriptors to watch.

        Returns:
            The numbers that have come, and those of ``others`` that can be read.
        """
        ready, _, _ = select.select([self._read, *others], [], [], timeout)
        numbers = os.read(self._read, 64) if self._read in ready else b""
        # Python reports every signal that has a handler, those of the application too.
        return [number for number in numbers if number in self._kinds], [fd for fd in ready if fd != self._read]

    def post(self, number: int) -> None:
        """Let ``wait`` return, as if this signal had come. From any thread."""
        os.write(self._write, bytes([number]))

    @property
    def fds(self) -> tuple[int, int]:
        """Both ends, for a forked child to close."""
        return self._read, self._write


@contextmanager
def signal_pipe(*kinds: int) -> Iterator[SignalPipe]:
    """Take over signals for the body, in this process but not in its forks. Their handlers only
    write to a pipe, since a handler that takes a lock can meet the very code that holds it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    previous_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _replaced.update({number: signal.signal(number, lambda *_: None) for number in kinds})
    # A supervisor holds them back until a child is ready for them, which is now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, kinds)
    try:
        yield SignalPipe(read, write, frozenset({_DONE, *kinds}))
    finally:
        _restore(previous_fd)
        os.close(read)
        os.close(write)


#: The handlers of the application whose signals are taken over.
_replaced: dict[int, Any] = {}


def _restore(wakeup_fd: int = -1) -> None:
    """Let signals be handled as before; also in a fork, where they would reach this process' pipe.

    Such forks are the children of a supervisor, and processes that jobs start.
    """
    if _replaced:
        signal.set_wakeup_fd(wakeup_fd)
    while _replaced:
        number, handler = _replaced.popitem()
        # None: it was not set from Python.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


os.register_at_fork(after_in_child=_restore)


class StopWaiter:
    """The main thread waits here while others work.

    Args:
        pipe: SIGTERM and SIGINT.
        control: what the supervisor writes to; each byte is ``GRACEFULLY`` or ``AT_ONCE``, and the
            end of it means that the supervisor is no more.
    """

    def __init__(self, pipe: SignalPipe, control: int | None) -> None:
        self._pipe = pipe
        self._control = control
        self._signals = 0
        self._told = 0

    def wait(self, on_stop: Callable[[bool], None]) -> None:
        """Return when ``done`` was called; until then call ``on_stop(at_once)`` on each word to stop."""
        urgency = 0
        while not self._hear():
            heard = min(max(self._signals, self._told), AT_ONCE)
            if heard > urgency:
                urgency = heard
                on_stop(urgency == AT_ONCE)

    def pause(self, seconds: float) -> bool:
        """Wait for some time; whether the process was asked to stop meanwhile."""
        end = time.monotonic() + seconds
        while not (self._signals or self._told) and (left := end - time.monotonic()) > 0:
            self._hear(left)
        return bool(self._signals or self._told)

    def done(self) -> None:
        """Let ``wait`` return. May be called from any thread."""
        self._pipe.post(_DONE)

    def done_after(self, join: Callable[[], None]) -> None:
        """Let ``wait`` return when ``join`` has returned, which is called in a thread."""

        def wait_then_tell() -> None:
            try:
                join()
            finally:
                self.done()

        threading.Thread(target=wait_then_tell, name="jobqueue-join", daemon=True).start()

    def _hear(self, timeout: float | None = None) -> bool:
        """Wait for one thing to happen; whether it was ``done``."""
        controls = () if self._control is None else (self._control,)
        numbers, spoken = self._pipe.wait(timeout, *controls)
        self._signals += len(numbers)
        if spoken:
            self._listen(spoken[0])
        return _DONE in numbers

    def _listen(self, control: int) -> None:
        words = os.read(control, 64)
        if not words:
            logger.warning("the supervisor of this process is gone; stopping")
            self._control = None
        self._told = max(self._told, GRACEFULLY, *words)


@contextmanager
def stop_waiter(control: int | None = None) -> Iterator[StopWaiter]:
    """Take over SIGTERM and SIGINT for the body; also listen to a supervisor, if there is one."""
    with signal_pipe(*STOP_SIGNALS) as pipe:
        yield StopWaiter(pipe, control)
