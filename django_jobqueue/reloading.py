"""Start the worker anew when its code has changed, for development.

Django's reloader watches the files. Where ``runserver`` gives it the main thread, here it has a
thread of its own: the main thread must wait for signals. And in the outer process, which starts the
program again and again, stands our supervisor, since Django's ends the inner one with SIGKILL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from django.utils import autoreload

from .supervisor import Launch, spawning

#: Tells the inner process the number of the file descriptor on which the outer one speaks.
CONTROL_VARIABLE = "JOBQUEUE_RELOADER_CONTROL"

#: Seconds that running jobs have when the code has changed; then they are given back and run by the new code.
RELOAD_GRACE = 3.0


def reloaded_control() -> int | None:
    """In the inner process, the pipe to the outer one; ``None`` in any other process.

    It is told once, so that programs that jobs start do not take it for theirs.
    """
    control = os.environ.pop(CONTROL_VARIABLE, None)
    if control is None:
        return None
    os.set_inheritable(int(control), False)
    return int(control)


def relaunching() -> Launch:
    """Launch this program once more, as the inner process."""
    # Other code (AppConfig.ready, settings) asks this variable whether it runs in the inner process.
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    return spawning([str(part) for part in autoreload.get_child_arguments()], environment, CONTROL_VARIABLE)


def watch_code(on_change: Callable[[], None]) -> None:
    """Call back once, from a thread, when a file of the loaded code has changed."""
    main = threading.current_thread()

    def watch() -> None:
        try:
            autoreload.get_reloader().run(main)
        except SystemExit:
            # So Django says that a file has changed.
            on_change()

    threading.Thread(target=watch, name="jobqueue-reloader", daemon=True).start()
