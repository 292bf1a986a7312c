"""One queue behind a proxy of its own, and the fault that one of its transitions is to meet."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import StorageError
from django_jobqueue.storage.base import Suspect, SuspectKind
from django_jobqueue.storage.redis import RedisStorage
from django_jobqueue.storage.scripts import script
from tests.contract.build import state
from tests.faults.auditor import Auditor
from tests.faults.proxy import Loss, Proxy, Strike, named
from tests.faults.resp import script_names
from tests.faults.snapshot import Snapshot
from tests.servers import Server, wait_until

#: Seconds after which a client takes a silent link for dead; short, for such links are what is tested, but longer
#: than a busy machine lets a process stand still.
SILENCE = 3.0


class Rig:
    """A storage that reaches the server through a proxy, and one that reaches it directly.

    Args:
        server: the server.
        command: the command that the fault is for, or a script's name.
        loss: what the command meets.
        nth: which of these commands, counted from where the fault is armed.
    """

    def __init__(self, server: Server, command: str, loss: Loss, nth: int = 1) -> None:
        self.prefix = f"jqtest:{uuid.uuid4().hex[:12]}:"
        self.loss = loss
        self._step = (command, nth)
        self._client = server.client()
        self.auditor = Auditor(self._client, self.prefix)
        self.proxy = Proxy(server.port)
        silence = f"?socket_timeout={SILENCE}" if loss in (Loss.HALF_OPEN_REQUEST, Loss.HALF_OPEN_REPLY) else ""
        self.storage = self._storage(f"redis://127.0.0.1:{self.proxy.port}/0{silence}")
        #: For whom every lease has run out.
        self.hasty = self._storage(self.storage.config.url or "", visibility_timeout=0.001)
        self.direct = self._storage(server.url())

    def _storage(self, url: str, **options: Any) -> RedisStorage:
        # BLMOVE's own time comes on top of its read timeout, so it is short here.
        config = QueueConfig(url=url, cache=None, key_prefix=self.prefix, block_timeout=1)
        return RedisStorage(replace(config, **options))

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        # With all scripts loaded, each is sent once, by its SHA alone.
        for name in script_names().values():
            self._client.script_load(script(name).source)
        self.storage.counts()  # a connection whose greeting is over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for storage in (self.storage, self.hasty, self.direct):
            storage.close()
        self.proxy.__exit__(kind, error, traceback)
        self._client.close()

    @contextmanager
    def fault(self, meanwhile: Callable[[], object] | None = None) -> Iterator[None]:
        """The block in which the command meets its fault; it must send the command.

        Args:
            meanwhile: called after the server has carried the command out, if it does, and before the client
                can send it again.
        """
        command, nth = self._step
        strike = Strike(named(command), nth, self.loss)
        if self.never_arrives:
            strike.before = meanwhile
        else:
            strike.after = meanwhile
        self.proxy.arm(strike)
        yield
        # The client may have sent it again, and been answered, before the proxy notes what it did.
        assert strike.struck.wait(30), f"{command} was not sent {nth} times"

    @property
    def never_arrives(self) -> bool:
        """Whether the server never gets the command."""
        return self.loss in (Loss.COMMAND, Loss.HALF_OPEN_REQUEST)

    def redis(self, command: str, key: str, *args: Any) -> Any:
        """Send a plain command about one of the queue's keys."""
        return self._client.execute_command(command, self.prefix + key, *args)

    def suspect(self, kind: SuspectKind = SuspectKind.STALLED, worker_id: str = "worker") -> Suspect:
        """Wait until the worker's only message is a suspect."""
        found: list[Suspect] = []

        def is_suspect() -> bool:
            found[:] = self.hasty.suspects([worker_id])
            return [one.kind for one in found] == [kind]

        wait_until(is_suspect, 30, lambda: AssertionError(f"not {kind}: {found}"))
        return found[0]

    def now_ms(self) -> int:
        """The server's time."""
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def outlive_this_millisecond(self) -> None:
        """Whatever is written from now on has a later time than all before."""
        before = self.now_ms()
        wait_until(lambda: self.now_ms() > before, 30, lambda: AssertionError("the server's clock stands still"))

    def kept(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """All that the server keeps of the queue."""
        snapshot = Snapshot.read(self._client, self.prefix)
        return (snapshot.hashes, snapshot.zsets, snapshot.lists)

    def check(self, **states: str) -> None:
        """These are the jobs there are and their states without times; and the keys are in order."""
        self.auditor.check(states)
        found = {job_id: state(self.direct, job_id) for job_id in states}
        assert found == states


def again(call: Callable[[], Any]) -> Any:
    """As the worker and the reaper do: call again after a storage error."""
    try:
        return call()
    except StorageError:
        return call()
