"""A primary with replicas under Sentinel."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Self

from redis.sentinel import Sentinel

from .certificates import Certificates
from .programs import LOOPBACK, ServerFailed
from .server import ConfigValue, Server
from .waiting import GROUP_DEADLINE, wait_until
from .warden import Started


class SentinelProcess(Server):
    """One sentinel, which watches the primary on a port; what else it needs is as for ``Server``."""

    def __init__(
        self, kind: str, *, service_name: str, primary_port: int, config: Mapping[str, ConfigValue], **options: Any
    ) -> None:
        watch = [
            f"monitor {service_name} {LOOPBACK} {primary_port} 2",
            f"down-after-milliseconds {service_name} 1000",
            f"failover-timeout {service_name} 5000",
        ]
        super().__init__(kind, config={"sentinel": watch, **config}, **options)

    def _default_config(self) -> dict[str, ConfigValue]:
        return {}

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), "--sentinel"]


class SentinelTrio(Started):
    """One primary and two replicas, watched by three sentinels, quick to fail over (about two seconds).

    Args:
        kind: ``"redis"`` or ``"valkey"``.
        tls: with which all of them speak TLS to each other and to clients, who need a certificate of that authority.
    """

    def __init__(self, kind: str = "redis", *, tls: Certificates | None = None) -> None:
        self.kind = kind
        self._options: dict[str, Any] = {"tls": tls, "client_certificates": True} if tls else {}
        self._config: dict[str, ConfigValue] = {"tls-replication": "yes"} if tls else {}
        # django-redis keeps one pool for a service name, whoever its sentinels are.
        self.service_name = f"primary-{uuid.uuid4().hex[:8]}"
        self.nodes: list[Server] = []
        self.watchers: list[SentinelProcess] = []

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        """The sentinels' addresses, as django-redis and redis-py take them."""
        return [(watcher.host, self._port(watcher)) for watcher in self.watchers]

    def sentinel(self) -> Sentinel:
        """Return a redis-py Sentinel client."""
        options = {"socket_timeout": 1, **self.tls_options()}
        return Sentinel(self.sentinels, sentinel_kwargs=options, **options)

    def tls_options(self) -> dict[str, Any]:
        """What redis-py needs to know for TLS, of nodes and sentinels; nothing where there is none."""
        return {"ssl": True, **self.nodes[0].tls_options()} if self._options else {}

    def start(self) -> Self:
        """Start everything and wait until each sentinel knows the other two and both replicas.

        Raises:
            ServerFailed: a process failed, or they did not agree in time.
        """
        primary = self._add_node({})
        for _ in range(2):
            self._add_node({"replicaof": f"{LOOPBACK} {self._port(primary)}"})
        for _ in range(3):
            self._add_watcher(self._port(primary))
        wait_until(self._is_whole, GROUP_DEADLINE, self._failure)
        for watcher in self.watchers:
            # A promoted replica is made a replica again by a sentinel that has not heard of the failover within
            # four such periods, and the one in charge may take a second to see the promotion (sentinel.c).
            _tune(watcher, {"publish-period": 1000})
        return self

    def primary(self) -> Server:
        """Return the node that the sentinels agree on and that believes it too.

        Raises:
            ServerFailed: there was none in time.
        """
        elected: list[Server] = []

        def agreed() -> bool:
            ports = {self._elected_port(watcher) for watcher in self.watchers}
            elected[:] = [node for node in self.nodes if {self._port(node)} == ports and _role(node) == "master"]
            return bool(elected)

        wait_until(agreed, GROUP_DEADLINE, self._failure)
        return elected[0]

    def kill_primary(self) -> Server:
        """SIGKILL the primary and return it; ``wait_for_new_primary`` sees the end of the failover."""
        primary = self.primary()
        primary.kill()
        return primary

    def fail_over(self) -> Server:
        """Begin a planned failover and return the old primary; ``wait_for_new_primary`` sees its end."""
        primary = self.primary()

        def begun() -> bool:
            # Refused while an earlier one is not quite over.
            with self.watchers[0].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", self.service_name)
            return True

        wait_until(begun, GROUP_DEADLINE, self._failure)
        return primary

    def wait_for_new_primary(self, old: Server) -> Server:
        """Return the node that took over from ``old``.

        Raises:
            ServerFailed: none did in time.
        """

        def elected() -> bool:
            return self._elected_port(self.watchers[0]) != self._port(old)

        wait_until(elected, GROUP_DEADLINE, self._failure)
        return self.primary()

    def restore(self) -> None:
        """Start the nodes that were killed and wait until the trio is whole again."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        wait_until(self._is_whole, GROUP_DEADLINE, self._failure)

    def close(self) -> None:
        """End all processes and remove their directories."""
        # Sentinels first: they would fail over while the nodes go.
        for server in [*self.watchers, *self.nodes]:
            server.close()

    def _port(self, server: Server) -> int:
        """The port by which the others and clients know a server."""
        return server.tls_port if self._options else server.port

    def _add_node(self, config: dict[str, ConfigValue]) -> Server:
        node = Server(self.kind, config={"repl-diskless-sync-delay": 0, **self._config, **config}, **self._options)
        self.nodes.append(node)
        return node.start()

    def _add_watcher(self, primary_port: int) -> None:
        watcher = SentinelProcess(
            self.kind,
            service_name=self.service_name,
            primary_port=primary_port,
            config=self._config,
            **self._options,
        )
        self.watchers.append(watcher)
        watcher.start()
        # Sentinels find each other and the replicas by polling; the usual periods would cost ten seconds.
        # But not faster pings: a replica is electable only while its last INFO is younger than five ping
        # periods, and once the primary is down INFO is sent once a second (sentinel.c, sentinelSelectSlave).
        periods = {"info-period": 200, "ping-period": 300, "ask-period": 100, "publish-period": 200}
        _tune(watcher, periods)

    def _is_whole(self) -> bool:
        primaries = [node for node in self.nodes if _role(node) == "master"]
        return len(primaries) == 1 and all(self._sees_all(watcher) for watcher in self.watchers)

    def _sees_all(self, watcher: SentinelProcess) -> bool:
        with watcher.client(decode_responses=True) as client:
            state: dict[str, Any] = client.sentinel_master(self.service_name)
            replicas: list[dict[str, Any]] = client.sentinel_slaves(self.service_name)
        linked = [replica for replica in replicas if replica["master-link-status"] == "ok"]
        return state["num-other-sentinels"] == 2 and state["flags"] == "master" and len(linked) == 2

    def _elected_port(self, watcher: SentinelProcess) -> int:
        with watcher.client(decode_responses=True) as client:
            _, port = client.sentinel_get_master_addr_by_name(self.service_name)
        return int(port)

    def _failure(self) -> ServerFailed:
        logs = "\n".join(f"[{watcher.port}]\n{watcher.log()}" for watcher in self.watchers)
        return ServerFailed(f"the sentinels did not agree within {GROUP_DEADLINE:g} s; their logs:\n{logs}")


def _tune(watcher: SentinelProcess, periods: dict[str, int]) -> None:
    """Set how often a sentinel does what, in ms."""
    with watcher.client() as client:
        client.execute_command("SENTINEL", "DEBUG", *(x for pair in periods.items() for x in pair))


def _role(node: Server) -> str | None:
    """Return ``"master"`` or ``"slave"``, the server's own words; None when it is down."""
    if not node.is_running:
        return None
    with node.client(decode_responses=True, socket_timeout=1) as client:
        return str(client.role()[0])
