"""A TCP proxy that knows commands from replies, and fails at the one it is told."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from tests.faults.resp import Command, CommandReader, ReplyReader, is_push

Predicate = Callable[[Command], bool]


class Loss(Enum):
    """What becomes of the link at the command that is waited for.

    Commands before it in the same pipeline reach the server, whatever is lost.
    """

    #: Neither it nor what follows reaches the server; the link is cut.
    COMMAND = "command never arrived"
    #: The server carries out the whole pipeline, but nobody hears of it; then the link is cut.
    REPLY = "reply was lost"
    #: What the client sends from here on vanishes; the link stays open.
    HALF_OPEN_REQUEST = "requests vanish"
    #: The server carries everything out, and all it answers vanishes; the link stays open.
    HALF_OPEN_REPLY = "replies vanish"


@dataclass(slots=True)
class Strike:
    """A fault that waits for its command.

    Attributes:
        matches: which commands count.
        nth: at which of them to strike, from 1.
        loss: what becomes of the link; ``None`` lets everything pass.
        before: called when the command has come and the server has not got it.
        after: called when the server has answered and the client has not heard of it.
        struck: set when it is done.
    """

    matches: Predicate
    nth: int = 1
    loss: Loss | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    struck: threading.Event = field(default_factory=threading.Event)


def named(name: str) -> Predicate:
    """Commands of this name; scripts by theirs."""
    return lambda command: command.name == name


class Proxy:
    """Forwards connections to a server, and strikes where it is told.

    Args:
        port: of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._strikes: list[Strike] = []
        self._seen: list[Command] = []
        self._links: set[_Link] = set()
        self._closing = False
        #: Set when what ``lose`` armed has struck.
        self.struck = threading.Event()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def seen(self) -> list[Command]:
        """The commands that came so far, of all connections, in order."""
        with self._lock:
            return list(self._seen)

    def lose(self, name: str, loss: Loss, nth: int = 1) -> None:
        """Lose the n-th command of this name from now on, or its reply."""
        strike = Strike(named(name), nth, loss)
        self.struck = strike.struck
        self.arm(strike)

    def arm(self, strike: Strike) -> Strike:
        """Let a strike wait for its command. Several may wait at a time."""
        with self._lock:
            self._strikes.append(strike)
        return strike

    def hold(self, name: str, nth: int = 1) -> Held:
        """Keep the n-th command of this name back until it is released; its link waits behind it."""
        release = threading.Event()
        strike = Strike(named(name), nth, before=lambda: _wait(release))
        return Held(self.arm(strike).struck, release)

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="test-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._serve, args=(link,), name="test-proxy-link", daemon=True).start()

    def _serve(self, link: _Link) -> None:
        try:
            link.serve()
        finally:
            with self._lock:
                self._links.discard(link)

    def meet(self, command: Command) -> Strike | None:
        """A link has got this command; the strike whose time has come with it."""
        with self._lock:
            self._seen.append(command)
            due = None
            for strike in [strike for strike in self._strikes if strike.matches(command)]:
                strike.nth -= 1
                if strike.nth == 0:
                    self._strikes.remove(strike)
                    due = strike
            return due


@dataclass(frozen=True, slots=True)
class Held:
    """A command that is kept back."""

    arrived: threading.Event
    _release: threading.Event

    def release(self) -> None:
        """Let it reach the server, also when its client has gone meanwhile."""
        self._release.set()


def _wait(release: threading.Event) -> None:
    if not release.wait(60):
        raise TimeoutError("a held command was not released")


class _Link:
    """One connection of a client, and the one to the server that belongs to it. Used by one thread."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._commands = CommandReader()
        self._replies = ReplyReader()
        self._sent = self._answered = 0
        #: The strike whose reply is waited for, and its number on this link.
        self._strike: Strike | None = None
        self._strike_at = 0
        self._drops_requests = self._drops_replies = False

    def cut(self) -> None:
        """End both connections, from any thread."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):  # it has ended already
                side.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        with self._client, self._server, selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ, self._from_client)
            selector.register(self._server, selectors.EVENT_READ, self._from_server)
            try:
                while all(key.data() for key, _ in selector.select()):
                    pass
            except OSError:
                return

    def _from_client(self) -> bool:
        data = self._client.recv(1 << 20)
        passed = b""
        for command in self._commands.feed(data):
            strike = self._proxy.meet(command)
            if strike is not None and strike.before is not None:
                self._server.sendall(passed)
                passed = b""
                strike.before()
                strike.struck.set()
            if strike is not None and strike.loss is Loss.COMMAND:
                self._server.sendall(passed)
                self._drain()
                strike.struck.set()
                return False
            if strike is not None and strike.loss is Loss.HALF_OPEN_REQUEST:
                self._drops_requests = True
                strike.struck.set()
            if not self._drops_requests:
                passed += command.raw
                self._sent += 1
            if strike is not None and (strike.after is not None or strike.loss in (Loss.REPLY, Loss.HALF_OPEN_REPLY)):
                self._strike, self._strike_at = strike, self._sent
        if passed:
            self._server.sendall(passed)
        return bool(data)

    def _from_server(self) -> bool:
        data = self._server.recv(1 << 20)
        passed = b""
        for reply in self._replies.feed(data):
            self._answered += not is_push(reply)
            if self._strike is not None and self._answered == self._strike_at:
                self._drops_replies = self._strike.loss is not None
                if self._strike.after is not None:
                    self._strike.after()
                self._strike.struck.set()
            if not self._drops_replies:
                passed += reply
        if passed:
            self._client.sendall(passed)
        lost_all = self._strike is not None and self._strike.loss is Loss.REPLY and self._answered == self._sent
        return bool(data) and not lost_all

    def _drain(self) -> None:
        """Wait until the server has carried out what it got: a link that is reset may lose it."""
        self._server.shutdown(socket.SHUT_WR)
        while self._server.recv(1 << 20):
            pass
