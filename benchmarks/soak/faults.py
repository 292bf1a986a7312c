"""Does faults at random, one after the other, and notes what it killed and froze."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import redis

from benchmarks.relay import Relay
from tests.servers import Server

from .cast import Cast
from .settings import VISIBILITY_TIMEOUT

#: Mean seconds between faults.
INTERVAL = 5.0

#: Seconds a worker is frozen: well beyond its leases, also when the server is away for a while.
FREEZE = 2.5 * VISIBILITY_TIMEOUT

#: How often a member of the cast is looked at.
TICK = 0.2


@dataclass(frozen=True, slots=True)
class Loss:
    """Processes that could not go on with their jobs from a moment on."""

    pids: frozenset[int]
    at: float


class Injector(threading.Thread):
    """Does the faults until told to stop; then everything is mended.

    It owns the cast while it runs: only it starts and ends members.
    """

    def __init__(self, server: Server, relay: Relay, cast: Cast, seed: int) -> None:
        super().__init__(name="faults", daemon=True)
        self._server = server
        self._relay = relay
        self._cast = cast
        self._chance = random.Random(seed)
        self._told_to_stop = threading.Event()
        self.done: Counter[str] = Counter()
        self.losses: list[Loss] = []
        self.error: BaseException | None = None
        self._faults: dict[str, tuple[int, Callable[[], None]]] = {
            "worker: SIGKILL": (6, self._kill_worker),
            "worker: SIGSTOP, later SIGCONT": (3, self._freeze_worker),
            "worker: SIGTERM and replaced": (4, self._deploy),
            "reaper: SIGKILL": (2, lambda: self._kill("reaper")),
            "producer: SIGKILL": (2, lambda: self._kill("producer")),
            "server: kill -9 and restart": (2, self._crash_server),
            "server: SCRIPT FLUSH": (2, self._flush_scripts),
            "server: CLIENT KILL": (3, self._kill_clients),
            "server: CLIENT PAUSE": (2, self._pause_clients),
            "server: memory full": (2, self._fill_memory),
            "network: cut": (3, self._cut_network),
        }

    def stop(self) -> None:
        """End the faults, and wait until everything is mended."""
        self._told_to_stop.set()
        self.join()

    def run(self) -> None:
        """Do faults."""
        try:
            while not self._pause(self._chance.expovariate(1 / INTERVAL)):
                weights = [weight for weight, _ in self._faults.values()]
                name = self._chance.choices(list(self._faults), weights)[0]
                self._faults[name][1]()
                self.done[name] += 1
        except BaseException as error:
            self.error = error
            raise

    def _pause(self, seconds: float) -> bool:
        """Wait, with an eye on the cast; whether it is time to stop."""
        deadline = time.monotonic() + seconds
        while True:
            self._cast.replace_ended()
            left = deadline - time.monotonic()
            if left <= 0:
                return self._told_to_stop.is_set()
            if self._told_to_stop.wait(min(TICK, left)):
                return True

    # processes

    def _kill_worker(self) -> None:
        member = self._cast.choose("worker", self._chance)
        pids = member.job_pids()
        if member.has_children and pids and self._chance.random() < 0.5:
            pids = [self._chance.choice(pids)]
        elif member.has_children:
            pids = [*pids, member.pid]
        self._lose(pids, signal.SIGKILL)

    def _kill(self, role: str) -> None:
        member = self._cast.choose(role, self._chance)
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)

    def _freeze_worker(self) -> None:
        member = self._cast.choose("worker", self._chance)
        pids = member.job_pids()
        self._lose(pids, signal.SIGSTOP)
        self._pause(FREEZE)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _lose(self, pids: list[int], number: signal.Signals) -> None:
        self.losses.append(Loss(frozenset(pids), time.time()))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _deploy(self) -> None:
        self._cast.choose("worker", self._chance).ask_to_end()  # its replacement comes when it has ended

    # the server

    def _crash_server(self) -> None:
        self._server.kill()
        self._pause(self._chance.uniform(0.2, 3))
        self._server.start()

    def _flush_scripts(self) -> None:
        with self._client() as client:
            client.script_flush()

    def _kill_clients(self) -> None:
        with self._client() as client:
            own = client.client_id()
            ids = [entry["id"] for entry in client.client_list() if int(entry["id"]) != own]
            for one in self._chance.sample(ids, min(len(ids), 4)):
                client.client_kill_filter(_id=one)

    def _pause_clients(self) -> None:
        milliseconds = int(self._chance.uniform(200, 2000))
        with self._client() as client:
            client.client_pause(milliseconds)
        self._pause(milliseconds / 1000)

    def _fill_memory(self) -> None:
        with self._client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
            self._pause(self._chance.uniform(1, 5))
            client.config_set("maxmemory", 0)

    def _client(self) -> redis.Redis:
        # Above the longest CLIENT PAUSE.
        return self._server.client(socket_timeout=10)

    # the network

    def _cut_network(self) -> None:
        self._relay.cut()
        self._pause(self._chance.uniform(0.2, 5))
        self._relay.mend()
