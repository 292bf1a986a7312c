"""``Supervisor``: keeps a number of child processes running, and ends with them.

It has no connection and no thread, before its first child or later: a fork copies neither safely.
Each child holds the read end of a pipe, on which the supervisor says how urgently to stop. When the
supervisor dies, by whatever, the kernel closes the other end, and so its children learn of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from .backoff import outage_delays
from .stopping import AT_ONCE, GRACEFULLY, STOP_SIGNALS, signal_pipe

logger = logging.getLogger(__name__)

#: Exit status of a child that wants to be replaced at once. The same as that of Django's reloader.
SPENT_STATUS = 3

#: A child that lived longer (seconds) was no failed start.
STEADY_AFTER = 10.0

#: Failed starts in a row after which the supervisor says so, and a burst gives up.
MANY_FAILURES = 5

#: Starts a child that listens to the pipe's read end, given first, and must not keep the other file
#: descriptors; returns its pid. Stop signals are blocked meanwhile, for the child to unblock.
Launch = Callable[[int, Collection[int]], int]


@dataclass(slots=True)
class _Place:
    """One of the places that the supervisor keeps filled, and the child in it.

    Attributes:
        pid: of the child; ``None`` while there is none.
        control: the write end of its pipe.
        started_at, start_at: when the child was started, and when the next one is due (monotonic);
            ``None``: never.
        failures: failed starts in a row.
        delays: seconds to wait before the next starts.
    """

    pid: int | None = None
    control: int = -1
    started_at: float = 0.0
    start_at: float | None = 0.0
    failures: int = 0
    delays: Iterator[float] = field(default_factory=outage_delays)


class Supervisor:
    """Keeps ``count`` children running until told to stop. Used by the main thread.

    Args:
        launch: starts a child; see ``forking``.
        count: how many.
        on_stop: called with whether it is to be at once when a signal asks to stop.
        burst: whether a child that ends with success has done all there was to do.
    """

    def __init__(self, launch: Launch, count: int, on_stop: Callable[[bool], None], *, burst: bool = False) -> None:
        self._launch = launch
        self._on_stop = on_stop
        self._places = [_Place() for _ in range(count)]
        self._burst = burst
        self._urgency = 0
        self._has_failed = False

    def run(self) -> bool:
        """Work until a signal, or the end of a burst, has ended all children.

        Returns:
            Whether they ended well: after the signal, or in a burst all of them.
        """
        with signal_pipe(*STOP_SIGNALS, signal.SIGCHLD) as pipe:
            own_fds = pipe.fds
            while True:
                self._start_due(own_fds)
                if all(place.pid is None and place.start_at is None for place in self._places):
                    return not self._has_failed
                numbers, _ = pipe.wait(self._time_to_next_start())
                # First, as a child may have ended by the same Ctrl-C.
                for _ in range(sum(number in STOP_SIGNALS for number in numbers)):
                    self._stop()
                self._reap()

    # Starting

    def _start_due(self, own_fds: Collection[int]) -> None:
        for place in self._places:
            if place.start_at is not None and place.start_at <= time.monotonic():
                self._start(place, own_fds)

    def _start(self, place: _Place, own_fds: Collection[int]) -> None:
        place.started_at, place.start_at = time.monotonic(), None
        control, place.control = os.pipe()
        # Write ends that a child kept would hide the supervisor's death from the others.
        private = [*own_fds, *(other.control for other in self._places if other.control >= 0)]
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            place.pid = self._launch(control, private)
        except OSError as error:
            self._close(place)
            self._failed(place, f"could not be started ({error})")
        finally:
            os.close(control)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _time_to_next_start(self) -> float | None:
        due = [place.start_at for place in self._places if place.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    # Ending

    def _reap(self) -> None:
        """Look which children have ended. SIGCHLD does not tell: several may come as one."""
        for place in self._places:
            if place.pid is None:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                place.pid = None
                self._close(place)
                self._ended(place, pid, os.waitstatus_to_exitcode(status))

    def _ended(self, place: _Place, pid: int, code: int) -> None:
        if code == SPENT_STATUS:
            if not self._urgency:
                logger.info("worker process %d has made room for another", pid)
                self._succeed(place, time.monotonic())
        elif code == 0 and (self._burst or self._urgency):
            logger.info("worker process %d has ended", pid)
        else:
            self._failed(place, f"{pid} {described(code)}")

    def _succeed(self, place: _Place, start_at: float) -> None:
        place.start_at, place.failures, place.delays = start_at, 0, outage_delays()

    def _failed(self, place: _Place, what: str) -> None:
        if self._burst or self._urgency:
            self._has_failed = True
        if self._urgency:
            logger.warning("worker process %s while it was to stop", what)
            return
        if time.monotonic() - place.started_at > STEADY_AFTER:
            self._succeed(place, 0.0)
        place.failures += 1
        if self._burst and place.failures >= MANY_FAILURES:
            place.start_at = None
            logger.error(
                "worker process %s, as did %d before it soon after their start; giving up on this one. "
                "What they wrote above tells why", what, place.failures - 1,
            )  # fmt: skip
            return
        delay = next(place.delays)
        place.start_at = time.monotonic() + delay
        logger.warning("worker process %s; starting another in %.1f s", what, delay)
        if place.failures == MANY_FAILURES:
            logger.error(
                "%d worker processes in a row ended soon after their start, the last %s. Their code or its "
                "settings must be wrong: what they wrote above tells why. Starting them goes on, slowly",
                place.failures, what,
            )  # fmt: skip

    def _stop(self) -> None:
        """Tell the children to stop; the second time, at once."""
        self._urgency = AT_ONCE if self._urgency else GRACEFULLY
        self._on_stop(self._urgency == AT_ONCE)
        for place in self._places:
            place.start_at = None
            if place.pid is not None:
                with contextlib.suppress(BrokenPipeError):  # it has just ended
                    os.write(place.control, bytes([self._urgency]))

    def _close(self, place: _Place) -> None:
        os.close(place.control)
        place.control = -1


def described(code: int) -> str:
    """How a process ended, from its exit code, which is negative for a signal."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def forking(run: Callable[[int], int]) -> Launch:
    """Launch children as forks of this process, which share its code in memory.

    Args:
        run: what a child does; gets the read end of its pipe, returns the exit status.
    """

    def launch(control: int, private: Collection[int]) -> int:
        _warn_of_threads()
        # What is still in the buffers would be written by both.
        _flush()
        pid = os.fork()
        if pid == 0:
            _be_child(run, control, private)
        return pid

    return launch


def _be_child(run: Callable[[int], int], control: int, private: Collection[int]) -> None:
    """The life of a forked child; never returns, so that the parent's code is not run twice."""
    status = 1
    try:
        for fd in private:
            os.close(fd)
        status = run(control)
    except BaseException:
        logger.exception("worker process %d ends because of an unexpected error", os.getpid())
    finally:
        logging.shutdown()
        _flush()
        os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Who read it may be gone, and nobody need be told.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _warn_of_threads() -> None:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others:
        logger.warning(
            "threads run in the process that starts the workers (%s); a fork may find their locks taken. "
            "Start threads in a receiver of the signal worker_started, not while Django is set up",
            ", ".join(others),
        )


def spawning(arguments: list[str], environment: Callable[[int], dict[str, str]]) -> Launch:
    """Launch children as programs of their own, which read all code anew.

    Args:
        arguments: the command line.
        environment: the variables of a child, from the number of its pipe's read end.
    """

    def launch(control: int, _: Collection[int]) -> int:
        os.set_inheritable(control, True)
        # The blocked signals would stay blocked in the new program.
        return os.posix_spawn(arguments[0], arguments, environment(control), setsigmask=())

    return launch
