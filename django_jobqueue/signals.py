"""Signals. Receivers run in the thread where it happens; what they raise is logged, not spread.

Job signals have ``sender`` the ``Queue`` class and the arguments ``queue`` (the ``Queue``) and
``job_id``; some have more:

* ``job_enqueued``: ``status``, ``queued`` or ``scheduled``. In the producer.
* ``job_started``: ``context``. In the worker, as are the next three.
* ``job_completed``: ``result``.
* ``job_failing``: ``exception``, ``attempts`` (finished ones), ``delay`` (seconds until the next).
* ``job_failed``: ``exception``, a ``MaxRetriesError``.
* ``job_stalled``: ``worker_id``, ``attempts``, ``failed`` (whether that was its last). In the reaper.
* ``job_cancelled``: in the process that cancelled.

``worker_started``, before the first job begins, and ``worker_stopped`` have ``sender`` the ``Worker`` class
and the argument ``worker``; ``leadership_acquired`` and ``leadership_lost`` the ``Reaper`` class and ``reaper``.
"""

from django.dispatch import Signal

job_enqueued = Signal()
job_started = Signal()
job_completed = Signal()
job_failing = Signal()
job_failed = Signal()
job_stalled = Signal()
job_cancelled = Signal()
worker_started = Signal()
worker_stopped = Signal()
leadership_acquired = Signal()
leadership_lost = Signal()
