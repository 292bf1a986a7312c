"""One pub/sub connection for all waiters of a process, and the thread that owns it."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from .base import Listening
from .cluster import Node
from .connections import READ_MARGIN, Connector, translated
from .denials import missing_right

logger = logging.getLogger(__name__)

#: Seconds of silence after which the server is asked for a sign of life.
PING_INTERVAL = 15.0

#: Seconds without any subscription after which connection and thread end.
LINGER = 30.0

#: Seconds after a message in which more is expected to be sent: what is unsubscribed waits for that, or so long.
LEAVE_DELAY = 0.05

#: Seconds that a caller waits for the server to confirm a subscription.
CONFIRM_TIMEOUT = 10.0

#: SUBSCRIBEs in one write when all channels are subscribed anew.
BATCH = 500

#: Seconds between attempts to connect: the first, and the longest.
RECONNECT_DELAYS = (0.1, 5.0)


class _Channel:
    """One subscribed channel and who listens to it."""

    __slots__ = ("announced", "confirmed", "denied", "listeners", "name")

    def __init__(self, name: str, announced: bool) -> None:
        self.name = name
        self.announced = announced
        self.listeners: dict[object, tuple[Callable[[bytes], None], Callable[[], None] | None]] = {}
        self.confirmed = threading.Event()
        #: What the server said when it refused the channel; then it is confirmed, too.
        self.denied: NoPermissionError | None = None


class Subscriber:
    """Listens to channels on one connection.

    The thread is the only one that reads from the socket. Others leave their wishes in ``_wishes`` and send them
    themselves where there is a link, which saves waking the thread; else they wake it through a pipe. All shared
    state, and what is sent, is guarded by ``_lock``.

    After the connection was lost, everything is subscribed anew, and then each distinct
    ``on_resync`` callable is called once: messages may have been missed.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        self._wishes: deque[tuple[str, _Channel]] = deque()
        self._session: _Session | None = None
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = -1, -1
        self._closing = False
        self._last_error: BaseException | None = None

    def listen(
        self,
        name: str,
        on_message: Callable[[bytes], None],
        on_resync: Callable[[], None] | None = None,
        *,
        confirm: bool = True,
    ) -> Callable[[], None]:
        """Call back on each message of a channel.

        Args:
            name: the channel.
            on_message: gets each message, in the subscriber's thread; must not block.
            on_resync: called after the connection was lost and restored.
            confirm: return only when the server has confirmed the subscription; otherwise at once, and
                ``on_resync`` is called when it is confirmed.

        Returns:
            A callable that ends it. It may be called more than once.

        Raises:
            StorageError: the server did not confirm in time, or denied it.
        """
        channel, end, _ = self._listen(name, on_message, on_resync, announced=not confirm)
        if confirm:
            self._await_confirmation(channel, end)
        return end

    def listen_early(
        self, name: str, on_message: Callable[[bytes], None], on_resync: Callable[[], None]
    ) -> Listening:
        """As ``listen``, but return when it is sent, over a link on which the server has confirmed another.

        Raises:
            The same as ``listen``.
        """
        channel, end, is_early = self._listen(name, on_message, on_resync)
        if not is_early:
            self._await_confirmation(channel, end)
        return Listening(lambda: channel.confirmed.is_set() and channel.denied is None, end)

    def _listen(
        self,
        name: str,
        on_message: Callable[[bytes], None],
        on_resync: Callable[[], None] | None,
        announced: bool = False,
    ) -> tuple[_Channel, Callable[[], None], bool]:
        """The channel, what ends the listening, and whether it was sent over a link that has confirmed a channel."""
        key = object()
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel(name, announced)
                self._wishes.append(("SUBSCRIBE", channel))
            channel.listeners[key] = (on_message, on_resync)
            self._ensure_thread()
            is_sent = self._tell_wishes()
            is_early = is_sent and self._session is not None and self._session.is_proven

        def end() -> None:
            with self._lock:
                channel.listeners.pop(key, None)
                if not channel.listeners and self._channels.get(name) is channel:
                    del self._channels[name]
                    # Sent with the next wish, or by the thread soon: its caller has its answer and need not wait.
                    self._wishes.append(("UNSUBSCRIBE", channel))

        return channel, end, is_early

    def _await_confirmation(self, channel: _Channel, end: Callable[[], None]) -> None:
        error: BaseException | None = None
        if not channel.confirmed.wait(CONFIRM_TIMEOUT):
            error = self._last_error or TimeoutError(f"no confirmation within {CONFIRM_TIMEOUT:g} s")
        error = error or channel.denied
        if error is not None:
            end()
            raise translated(error, f"subscribing to {channel.name!r}") from error

    def close(self) -> None:
        """End the thread and the connection; listeners hear no more."""
        with self._lock:
            self._closing = True
            self._channels.clear()
            thread = self._thread
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(READ_MARGIN)

    # Called with the lock held.

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._closing = False
            self._wake_read, self._wake_write = os.pipe()
            os.set_blocking(self._wake_read, False)
            os.set_blocking(self._wake_write, False)
            self._thread = threading.Thread(target=self._run, name="jobqueue-subscriber", daemon=True)
            self._thread.start()

    def _tell_wishes(self) -> bool:
        """Whether they are sent now; else the thread will do it."""
        if self._session is not None and self._session.send_wishes():
            return True
        self._wake()
        return False

    def _wake(self) -> None:
        if self._thread is not None:
            # The pipe may be full of wake-ups already.
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"w")

    # The thread.

    def _run(self) -> None:
        delay, longest = RECONNECT_DELAYS
        was_lost = False
        while True:
            pool = None
            try:
                pool = self._connector.dedicated("subscriber")
                connection = pool.get_connection()
                session = _Session(self, connection, was_lost, self._connector.node)
                if was_lost:
                    logger.warning("the subscriber connection is back")
                delay, was_lost = RECONNECT_DELAYS[0], False
                try:
                    if session.serve():
                        return
                finally:
                    with self._lock:
                        if self._session is session:
                            self._session = None
            # Also what a bad configuration raises: whoever waits for a confirmation is told of it.
            except Exception as error:
                self._last_error = error
                self._connector.learn(error)
                if not was_lost and self._channels:
                    logger.warning(
                        "the subscriber connection was lost (%s); waiters look again when it is back", error
                    )
                was_lost = True
            finally:
                if pool is not None:
                    pool.disconnect()
            if self._ended():
                return
            self._pause(delay)
            delay = min(2 * delay, longest)

    def _ended(self) -> bool:
        """End the thread when nobody listens; under the lock, so that no listener slips by."""
        with self._lock:
            if self._channels and not self._closing:
                return False
            self._thread = self._session = None
            self._wishes.clear()
            os.close(self._wake_read)
            os.close(self._wake_write)
            return True

    def _pause(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            deadline = time.monotonic() + seconds
            while not self._closing and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)


class _Session:
    """One life of the connection: what was asked on it and not yet confirmed."""

    def __init__(self, subscriber: Subscriber, connection: Any, was_lost: bool, node: Node | None) -> None:
        self._subscriber = subscriber
        self._connection = connection
        # Confirmations come in the order of the commands, so a queue pairs them exactly.
        self._pending: deque[_Channel] = deque()
        self._resync_after: _Channel | None = None
        self._was_lost = was_lost
        #: Whether the server has confirmed a channel.
        self.is_proven = False
        self._node = node
        self._ping_sent = False
        # A TLS link may not be written to in one thread while another reads from it.
        self._others_may_send = not isinstance(connection._sock, ssl.SSLSocket)
        self._error: Exception | None = None

    def serve(self) -> bool:
        """Serve until the subscriber is closed or idle; true then. Raises when the link breaks."""
        subscriber, connection = self._subscriber, self._connection
        self._subscribe_all()
        quiet_since, is_stirred = time.monotonic(), False
        with selectors.DefaultSelector() as selector:
            selector.register(connection._sock, selectors.EVENT_READ)
            selector.register(subscriber._wake_read, selectors.EVENT_READ)
            while True:
                # close() may have spent its wake-up while there was no connection.
                longest = 0.0 if subscriber._closing else PING_INTERVAL if subscriber._channels else LINGER
                wait = min(longest, LEAVE_DELAY) if is_stirred else longest
                is_stirred = bool(selector.select(max(0.0, quiet_since + wait - time.monotonic())))
                subscriber._drain()
                with subscriber._lock:
                    self._send_wishes()
                if self._error is not None:
                    raise self._error
                while connection.can_read(timeout=0):
                    self._read()
                    quiet_since, self._ping_sent = time.monotonic(), False
                quiet = time.monotonic() - quiet_since
                if subscriber._closing or (quiet >= LINGER and not subscriber._channels):
                    if subscriber._ended():
                        return True
                elif quiet >= PING_INTERVAL:
                    if self._ping_sent:
                        raise TimeoutError(f"no sign of life for {2 * PING_INTERVAL:g} s")
                    if subscriber._connector.node not in (self._node, None):
                        # Every node hears all messages, until it leaves the cluster.
                        raise ConnectionError("the queue is served by another node of the cluster now")
                    with subscriber._lock:
                        connection.send_command("PING")
                        self._ask_again()
                    quiet_since, self._ping_sent = time.monotonic(), True

    def _subscribe_all(self) -> None:
        subscriber = self._subscriber
        with subscriber._lock:
            subscriber._wishes.clear()
            channels = list(subscriber._channels.values())
            if self._was_lost and channels:
                self._resync_after = channels[-1]
            for start in range(0, len(channels), BATCH):
                self._send([("SUBSCRIBE", channel) for channel in channels[start : start + BATCH]])
            subscriber._session = self

    def _ask_again(self) -> None:
        """Subscribe what was denied; the user may have been given the right. Call with the lock held."""
        channels = self._subscriber._channels.values()
        self._subscriber._wishes.extend(("SUBSCRIBE", channel) for channel in channels if channel.denied)
        self._send_wishes()

    def send_wishes(self) -> bool:
        """Send from another thread what is wished; false when the subscriber's own must. Call with the lock held."""
        if not self._others_may_send or self._error is not None:
            return False
        try:
            self._send_wishes()
        except Exception as error:
            # The thread makes a new link, and subscribes everything there.
            self._error = error
            return False
        return True

    def _send_wishes(self) -> None:
        wishes = self._subscriber._wishes
        if wishes:
            self._send(list(wishes))
            wishes.clear()

    def _send(self, wishes: Sequence[tuple[str, _Channel]]) -> None:
        self._pending.extend(channel for _, channel in wishes)
        # One command each: the server denies a command as a whole.
        commands = self._connection.pack_commands([(command, channel.name) for command, channel in wishes])
        self._connection.send_packed_command(commands)

    def _read(self) -> None:
        try:
            reply = self._connection.read_response(disable_decoding=True)
        except NoPermissionError as error:
            if missing_right(error) == "+ping":
                raise
            # One channel only: a reaper that may not hear something must not silence the waiters of its process.
            self._deny(self._pending.popleft(), error)
        else:
            self._handle(reply)

    def _deny(self, channel: _Channel, error: NoPermissionError) -> None:
        if channel.announced and channel.denied is None:
            logger.warning("nothing is heard of %s, the server denied it (%s)", channel.name, error)
        channel.denied = error
        channel.confirmed.set()
        self._settle(channel)

    def _handle(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind == b"message":
            with self._subscriber._lock:
                channel = self._subscriber._channels.get(reply[1].decode())
                listeners = list(channel.listeners.values()) if channel else []
            for on_message, _ in listeners:
                self._call(on_message, reply[2])
        elif kind == b"subscribe":
            channel = self._pending.popleft()
            is_new = channel.denied is not None or not channel.confirmed.is_set()
            channel.denied, self.is_proven = None, True
            channel.confirmed.set()
            if is_new and channel.announced:
                self._call_all([channel])
            self._settle(channel)
        elif kind == b"unsubscribe":
            self._pending.popleft()

    def _settle(self, channel: _Channel) -> None:
        """After the last one that was subscribed anew: tell all that messages may have been missed."""
        if channel is self._resync_after:
            self._resync_after = None
            with self._subscriber._lock:
                channels = list(self._subscriber._channels.values())
            self._call_all(channels)

    def _call_all(self, channels: Iterable[_Channel]) -> None:
        """Tell the listeners of channels that messages may have been missed."""
        with self._subscriber._lock:
            listeners = [one for channel in channels for one in channel.listeners.values()]
        for on_resync in {callback for _, callback in listeners if callback is not None}:
            self._call(on_resync)

    @staticmethod
    def _call(callback: Callable[..., None], *args: Any) -> None:
        try:
            callback(*args)
        except Exception:
            # A listener's fault must not silence the others.
            logger.exception("a listener of the subscriber raised")
