"""The thread that keeps a worker's leases alive."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time

from .exceptions import StorageError
from .leases import Leases
from .outage import Outage
from .queue import Queue

logger = logging.getLogger(__name__)

#: Renewals in one visibility timeout: two may be lost before a lease is.
RENEWALS_PER_TIMEOUT = 3


class Heartbeat:
    """Renews the leases of running jobs and the worker's entry, every third of the visibility timeout."""

    def __init__(self, queue: Queue, worker_id: str, concurrency: int, leases: Leases, outage: Outage) -> None:
        from . import __version__

        self._queue = queue
        self._worker_id = worker_id
        self._leases = leases
        self._outage = outage
        self._interval = queue.config.visibility_timeout / RENEWALS_PER_TIMEOUT
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._info = json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": __version__,
                "concurrency": concurrency,
                "started": int(time.time() * 1000),
            }
        ).encode()

    def beat(self) -> None:
        """Renew once.

        Raises:
            StorageError: the server could not be reached; nothing is known about the leases.
        """
        lost = self._queue.storage.renew(self._worker_id, self._info, *self._leases.messages())
        for lease in self._leases.mark_lost(lost):
            logger.warning(
                "the lease of job %s was lost; what this run returns will not be stored",
                lease.message.id,
                extra={"job_id": lease.message.id, "queue": self._queue.alias},
            )

    def start(self) -> None:
        """Beat from now on."""
        self._thread = threading.Thread(target=self._run, name="jobqueue-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # After a failed beat the next comes soon: the leases run out meanwhile, and when the server is back, a reaper
        # waits for it only until its second look.
        soon = min(1.0, self._interval / 8)
        wait = self._interval
        while not self._stopping.wait(wait):
            try:
                self.beat()
            except StorageError as error:
                self._outage.failed("heartbeat", error)
                wait = soon
            except Exception:
                # Whatever it is: without this thread every lease would run out.
                logger.exception("the heartbeat of worker %s failed unexpectedly and goes on", self._worker_id)
                wait = soon
            else:
                self._outage.works("heartbeat")
                wait = self._interval
