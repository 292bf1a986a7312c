"""How a command waits for its work to end and hears SIGTERM and SIGINT meanwhile."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalWaiter:
    """The main thread waits here. Signals come through a pipe: their handlers do nothing else, since
    a handler that takes a lock can meet the very code that holds it."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    def wait(self, on_signal: Callable[[], None]) -> None:
        """Return when ``done`` was called; call ``on_signal`` for each signal until then."""
        while True:
            select.select([self._read], [], [])
            for byte in os.read(self._read, 64):
                if byte == 0:
                    return
                on_signal()

    def done(self) -> None:
        """Let ``wait`` return. May be called from any thread."""
        os.write(self._write, b"\0")

    def done_after(self, join: Callable[[], None]) -> None:
        """Let ``wait`` return when ``join`` has returned, which is called in a thread."""

        def wait_then_tell() -> None:
            try:
                join()
            finally:
                self.done()

        threading.Thread(target=wait_then_tell, name="jobqueue-join", daemon=True).start()


@contextmanager
def signal_waiter() -> Iterator[SignalWaiter]:
    """Take over SIGTERM and SIGINT for the body."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    previous_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield SignalWaiter(read, write)
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
