"""Sends commands and scripts to the server, again when the connection was lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from . import scripts
from .cluster import ON_THE_MOVE
from .connections import Connector, is_worth_resending, storage_errors
from .keys import Keys
from .scripts import Call, exchange, script
from .wrong_type import is_wrong_type, wrong_type

#: Seconds to wait before a call is sent again after a lost connection; then the caller hears of it.
RESEND_DELAYS = (0.02, 0.1, 0.3)

#: Seconds that a call waits for its slot to arrive at another node of a cluster, and between two looks.
#: Until then every script meets ASK or TRYAGAIN: some of a queue's keys are hardly ever there. A slot's keys
#: are moved in milliseconds to seconds, by somebody who does it on purpose; a request can wait for that.
MOVE_PATIENCE = 5.0
MOVE_DELAY = 0.05

#: Most calls in one pipeline, so that no other client waits long.
BATCH = 500

T = TypeVar("T")


class _Pauses:
    """How long one call waits before it is sent again."""

    def __init__(self) -> None:
        self._delays: Iterator[float] = iter(RESEND_DELAYS)
        self._moved_by = time.monotonic() + MOVE_PATIENCE

    def after(self, error: BaseException) -> float | None:
        """Seconds until it is worth sending again; ``None`` to give up."""
        if isinstance(error, ON_THE_MOVE):
            return MOVE_DELAY if time.monotonic() < self._moved_by else None
        return next(self._delays, None) if is_worth_resending(error) else None


class Transport:
    """The way to the server on the main connection. Errors come out as ours.

    Every method may send its commands more than once: scripts are written for that.
    """

    def __init__(self, connector: Connector, keys: Keys) -> None:
        self._connector = connector
        self._keys = keys

    def send(
        self, attempted: str, send: Callable[[Any, bool], T], *, resend: bool = True, names: Sequence[str] = ()
    ) -> T:
        """Call ``send(client, resent)``, again when the connection was lost.

        Args:
            attempted: what it is for, to be named in errors.
            send: sends the commands and reads the replies.
            resend: false for what must not be repeated without a look at what the first sending did.
            names: the keys in play, as far as they are known.

        Raises:
            StorageError: it failed for good, or the connection did not come back soon.
        """
        try:
            return send(self._connector.main(), False)
        except (RedisError, OSError) as error:
            failure = error
        with storage_errors(attempted, self._connector), self.explaining(attempted, names):
            return self._send_again(failure, send, _Pauses() if resend else None)

    def _send_again(self, failure: Exception, send: Callable[[Any, bool], T], pauses: _Pauses | None) -> T:
        while True:
            self._connector.learn(failure)
            pause = None if pauses is None else pauses.after(failure)
            if pause is None:
                raise failure
            time.sleep(pause)
            try:
                return send(self._connector.main(), True)
            except (RedisError, OSError) as error:
                failure = error

    @contextmanager
    def explaining(self, attempted: str, names: Iterable[str]) -> Iterator[None]:
        """A block in which a key of a wrong type is named by the error.

        Args:
            attempted: what it is for.
            names: the keys in play.

        Raises:
            StorageError: a key of the queue has a wrong type.
        """
        try:
            yield
        except RedisError as error:
            if not is_wrong_type(error):
                raise
            explained = wrong_type(self._connector.main(), self._keys.types(names), attempted)
            if explained is None:
                raise
            raise explained from error

    def run(self, attempted: str, name: str, keys: Sequence[str], *args: str | bytes | int) -> Any:
        """Run one script; returns its reply."""
        call = Call(script(name), keys, args)
        return self.send(attempted, lambda client, _: scripts.run(client, call), names=keys)

    def run_all(self, attempted: str, calls: Sequence[Call], *, resend: bool = True) -> list[Any]:
        """Run scripts in few round trips, in order; an error of any of them is raised."""
        replies: list[Any] = []
        for start in range(0, len(calls), BATCH):
            replies += self._run_batch(attempted, calls[start : start + BATCH], resend)
        return replies

    def begin_all(self, attempted: str, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Send scripts, each once.

        Returns:
            What reads their replies, and raises the first error of any. It must be called once, by any thread.
        """
        if not 0 < len(calls) <= BATCH:
            replies = self.run_all(attempted, calls, resend=False)
            return lambda: replies
        names = [name for call in calls for name in call.keys]
        read = self.send(attempted, lambda client, _: scripts.begin_all(client, calls), resend=False, names=names)

        def end() -> list[Any]:
            with storage_errors(attempted, self._connector), self.explaining(attempted, names):
                try:
                    return _checked(read())
                except (RedisError, OSError) as error:
                    self._connector.learn(error)
                    raise

        return end

    def _run_batch(self, attempted: str, calls: Sequence[Call], resend: bool) -> list[Any]:
        names = [name for call in calls for name in call.keys]
        return self.send(attempted, lambda client, _: all_or_error(client, calls), resend=resend, names=names)

    def commands(self, attempted: str, *commands: Sequence[Any]) -> list[Any]:
        """Plain commands in one round trip; their replies."""

        def send(client: Any, _: bool) -> list[Any]:
            if not commands:
                return []
            with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command, NEVER_DECODE=True)
                replies: list[Any] = pipeline.execute()
                return replies

        return self.send(attempted, send, names=_keys(commands))

    def raw(self, attempted: str, *commands: Sequence[Any]) -> list[Any]:
        """As ``commands``, with the replies as they are on the wire: faster, where there is much."""
        return self.send(attempted, lambda client, _: _checked(exchange(client, commands)), names=_keys(commands))


def _keys(commands: Sequence[Sequence[Any]]) -> list[str]:
    return [part for command in commands for part in command[1:2] if isinstance(part, str)]


def all_or_error(client: Any, calls: Sequence[Call]) -> list[Any]:
    """Run scripts in one round trip; when any failed, raise its error."""
    return _checked(scripts.run_all(client, calls))


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
