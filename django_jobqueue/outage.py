"""An outage of the storage, as the parts of one process see it: told once, however many notice."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)


class Outage:
    """Which parts of a worker cannot do their work now. ``_failing`` is guarded by ``_lock``."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._failing: set[str] = set()

    def failed(self, part: str, error: BaseException) -> None:
        """A part could not do its work; logs when it is the first."""
        with self._lock:
            first = not self._failing
            self._failing.add(part)
        if first:
            logger.warning("%s: %s; trying again until it works", self._owner, error)

    def works(self, part: str) -> None:
        """A part did its work; logs when it was the last that could not."""
        if not self._failing:
            return
        with self._lock:
            last = self._failing == {part}
            self._failing.discard(part)
        if last:
            logger.warning("%s: the storage works again", self._owner)
