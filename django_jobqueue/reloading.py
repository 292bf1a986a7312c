"""Start the worker anew when its code has changed, for development.

Django's reloader watches the files. Where ``runserver`` gives it the main thread, here it has a
thread of its own: the main thread must wait for signals. And in the outer process, which starts the
program again and again, stands our supervisor, since Django's ends the inner one with SIGKILL.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils import autoreload

from .supervisor import Launch, spawning

#: Seconds that running jobs have when the code has changed; then they are given back and run by the new code.
RELOAD_GRACE = 3.0

#: Tells the inner process of its launch: file descriptor of its pipe, and when (seconds since the epoch).
_VARIABLE = "JOBQUEUE_RELOADER_LAUNCH"


@dataclass(frozen=True, slots=True)
class Reload:
    """The launch of an inner process.

    Attributes:
        control: the read end of the pipe from the outer process.
        launched_at: when, in seconds since the epoch.
    """

    control: int
    launched_at: float


def relaunching() -> Launch:
    """Launch this program once more, as the inner process."""
    # Other code (AppConfig.ready, settings) asks Django's variable whether it runs in the inner process.
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    arguments = [str(part) for part in autoreload.get_child_arguments()]
    return spawning(arguments, lambda control: {**environment, _VARIABLE: f"{control} {time.time()}"})


def current_reload() -> Reload | None:
    """The launch of this process; ``None`` when it is not an inner one.

    It is told once, so that programs that jobs start do not take it for theirs.
    """
    described = os.environ.pop(_VARIABLE, None)
    if described is None:
        return None
    control, launched_at = described.split()
    os.set_inheritable(int(control), False)
    return Reload(int(control), float(launched_at))


def watch_code(launched_at: float, on_change: Callable[[], None]) -> None:
    """Call back once, from a thread, when a file of the loaded code has changed since the launch."""
    reloader, main = _Reloader(launched_at), threading.current_thread()

    def watch() -> None:
        try:
            reloader.run(main)
        except SystemExit:
            # So Django says that a file has changed.
            on_change()

    threading.Thread(target=watch, name="jobqueue-reloader", daemon=True).start()


class _Reloader(autoreload.StatReloader):
    """Django's reloader compares two looks at a file. What was edited before its first look, while
    the program was starting, it would miss; this one does not."""

    def __init__(self, launched_at: float) -> None:
        super().__init__()
        self._launched_at = launched_at
        self._seen: set[Path] = set()

    def snapshot_files(self) -> Iterator[tuple[Path, float]]:
        for path, mtime in super().snapshot_files():
            if path not in self._seen:
                self._seen.add(path)
                # A time in the future is another machine's clock, and no reason to start for ever.
                if self._launched_at < mtime <= time.time():
                    self.notify_file_changed(path)
            yield path, mtime
