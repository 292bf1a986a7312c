"""A Node.js process with the library ``@platformatic/job-queue``, driven by the tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.servers import wait_until

NODE_DIRECTORY = Path(__file__).parent / "node"
NODE = NODE_DIRECTORY / "node_modules" / ".bin" / "node"
LIBRARY = NODE_DIRECTORY / "node_modules" / "@platformatic" / "job-queue"

#: Seconds that one command, or an awaited event, may take.
DEADLINE = 20.0

#: Seconds that the process gets to end by itself.
END_DEADLINE = 5.0


class NodeNotInstalled(RuntimeError):
    """The npm packages that the tests need are not there; the message says how to get them."""


class NodePeerFailed(RuntimeError):
    """The process ended, did not answer or did not do what was awaited; the message holds its stderr."""


class NodeError(Exception):
    """A command of the Node library threw.

    Attributes:
        name: the JavaScript class, such as ``JobFailedError``.
        message: its message.
        code: its ``code``; None when it has none.
        original_error: of a ``JobFailedError``, the stored error, decoded.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.name: str = error["name"]
        self.message: str = error["message"]
        self.code: str | None = error.get("code")
        original = error.get("originalError")
        self.original_error: Any = None if original is None else json.loads(original)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, as its worker saw it; ``attempts`` is 1 in the first."""

    id: str
    attempts: int
    payload: Any


def require_node() -> None:
    """Look whether the npm packages are installed.

    Raises:
        NodeNotInstalled: they are not.
    """
    if not NODE.exists() or not LIBRARY.exists():
        raise NodeNotInstalled(
            "the npm packages of the interoperability tests are not installed; run: "
            'npm ci --prefix tests/interop/node (or leave these tests out: pytest -m "not interop")'
        )


class NodePeer:
    """One Node.js process on one queue: a producer, and a worker and a reaper when asked for.

    Use it as a context manager. A thread of its own reads what the process says; it alone appends to ``_runs``
    and ``_events``, and ``_lock`` guards ``_pending``.

    Args:
        url: address of the server.
        key_prefix: prefix of all keys.
        name: name of a queue below the prefix, as the library calls it.
    """

    def __init__(self, url: str, key_prefix: str, name: str | None = None) -> None:
        require_node()
        self._runs: list[Run] = []
        self._events: list[tuple[str, str]] = []
        self._calls = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._ready = threading.Event()
        self._ended = False
        self._stderr = tempfile.TemporaryFile(prefix="jobqueue-node-peer-")  # noqa: SIM115 - closed by close()
        where = {"url": url, "keyPrefix": key_prefix, "name": name}
        self._process = subprocess.Popen(
            [NODE, NODE_DIRECTORY / "peer.mjs", json.dumps(where)],
            cwd=NODE_DIRECTORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            # A session of its own: Ctrl-C in the terminal must reach the tests and not their processes.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="node-peer-reader", daemon=True)
        self._reader.start()

    # Its life

    def __enter__(self) -> Self:
        try:
            if not self._ready.wait(DEADLINE):
                raise self.failure("did not start in time")
            self._check_alive()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash does."""
        self._process.kill()
        self._process.wait()
        self._reader.join(END_DEADLINE)

    def close(self) -> None:
        """End the process, by force when it does not go by itself. Closing twice is fine."""
        if self._stderr.closed:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_DEADLINE)
        self._process.stdout.close()
        self._stderr.close()

    def failure(self, what: str) -> NodePeerFailed:
        """Return an error that tells what went wrong, with all that the process has said."""
        # The process writes through the same file offset, so it must not be moved.
        said = os.pread(self._stderr.fileno(), 1 << 20, 0).decode(errors="replace")
        return NodePeerFailed(
            f"the Node process {self._process.pid} {what} (exit status: {self._process.poll()}); "
            f"runs: {self._runs}; events: {self._events}; its stderr:\n{said}"
        )

    # Talking to it

    def begin(self, command: str, **arguments: Any) -> Future[Any]:
        """Send a command of ``peer.mjs`` without waiting for the answer."""
        future: Future[Any] = Future()
        call = next(self._calls)
        assert self._process.stdin is not None
        with self._lock:
            self._check_alive()
            self._pending[call] = future
            line = json.dumps({"call": call, "command": command, "arguments": arguments})
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self.failure(f"cannot be asked to {command}") from None
        return future

    def call(self, command: str, **arguments: Any) -> Any:
        """Send a command of ``peer.mjs`` and return its result.

        Raises:
            NodeError: the library threw.
            NodePeerFailed: the process ended or did not answer in time.
        """
        return self.result(self.begin(command, **arguments), f"did not answer to {command} {arguments}")

    def result(self, future: Future[Any], what: str = "did not answer") -> Any:
        """Return the result of a command that was begun.

        Raises:
            The same as ``call``.
        """
        try:
            return future.result(DEADLINE)
        except TimeoutError:
            raise self.failure(what) from None

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds.

        Raises:
            NodePeerFailed: it did not in time.
        """
        wait_until(done, DEADLINE, lambda: self.failure(f"waited in vain until {what}"))

    # What it has seen

    @property
    def runs(self) -> list[Run]:
        """The runs that its worker has begun until now."""
        self._catch_up()
        return list(self._runs)

    @property
    def events(self) -> list[tuple[str, str]]:
        """The events (id, name) that it has heard until now, after ``call("listen")``."""
        self._catch_up()
        return list(self._events)

    def _catch_up(self) -> None:
        """Wait until all that the process has said is read; results come another way, by the server."""
        if not self._ended:
            self.call("sync")

    # What the library offers

    def enqueue(
        self, job_id: str, payload: Any = None, *, extra_fields: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        """``queue.enqueue``; ``extra_fields`` end the message, as a newer version of the library may do."""
        return self.call("enqueue", id=job_id, payload=payload, options=options, extraFields=extra_fields)

    def begin_enqueue_and_wait(self, job_id: str, payload: Any = None, **options: Any) -> Future[Any]:
        """``queue.enqueueAndWait``, to be ended by ``result``."""
        return self.begin("enqueueAndWait", id=job_id, payload=payload, options=options)

    def cancel(self, job_id: str) -> str:
        """``queue.cancel``; returns the status."""
        return str(self.call("cancel", id=job_id)["status"])

    def get_result(self, job_id: str) -> Any:
        """``queue.getResult``."""
        return self.call("getResult", id=job_id)

    def get_status(self, job_id: str) -> Any:
        """``queue.getStatus``."""
        return self.call("getStatus", id=job_id)

    def update_result_ttl(self, job_id: str, ttl_ms: int) -> str:
        """``queue.updateResultTTL``; returns the status."""
        return str(self.call("updateResultTTL", id=job_id, ttl=ttl_ms)["status"])

    def get_job_states(self, *job_ids: str) -> dict[str, str | None]:
        """``storage.getJobStates``: the raw state strings."""
        states: dict[str, str | None] = self.call("getJobStates", ids=job_ids)
        return states

    def start_worker(self, **options: Any) -> None:
        """Start a worker whose handler does what the payload says; ``options`` are those of ``Queue``."""
        self.call("startWorker", **options)

    def release(self, job_id: str) -> None:
        """Let a held job return."""
        self.call("release", id=job_id)

    def wait_for_run(self, job_id: str, attempts: int = 1) -> Run:
        """Wait until the worker has begun this run of a job, and return it."""

        def found() -> list[Run]:
            return [run for run in self._runs if (run.id, run.attempts) == (job_id, attempts)]

        self.wait_until(lambda: bool(found()), f"it runs attempt {attempts} of job {job_id!r}")
        return found()[0]

    # The reader's thread

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            match line.get("event"):
                case "run":
                    self._runs.append(Run(line["id"], line["attempts"], line["payload"]))
                case "queue-event":
                    self._events.append((line["id"], line["kind"]))
                case "ready":
                    self._ready.set()
                case _:
                    self._answer(line)
        with self._lock:
            self._ended = True
            pending, self._pending = self._pending, {}
        self._ready.set()
        for future in pending.values():
            future.set_exception(self.failure("ended before it answered"))

    def _answer(self, line: dict[str, Any]) -> None:
        with self._lock:
            future = self._pending.pop(line["call"])
        if "error" in line:
            future.set_exception(NodeError(line["error"]))
        else:
            future.set_result(line["result"])

    def _check_alive(self) -> None:
        if self._ended:
            raise self.failure("has ended")
