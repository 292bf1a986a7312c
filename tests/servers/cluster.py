"""A cluster of servers."""

from __future__ import annotations

from typing import Any, Self

from redis.cluster import ClusterNode, RedisCluster

from .programs import ServerFailed, free_port
from .server import ConfigValue, Server
from .waiting import GROUP_DEADLINE, no_retries, wait_until
from .warden import Started


class ClusterMember(Server):
    """One node of a cluster."""

    def _choose_ports(self) -> None:
        super()._choose_ports()
        # The usual bus port, 10000 above the other, would have to be free as well.
        self.bus_port = free_port()

    def _default_config(self) -> dict[str, ConfigValue]:
        return {
            **super()._default_config(),
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": 2000,
        }


class Cluster(Started):
    """A cluster of primaries without replicas, the slots in equal ranges."""

    SLOTS = 16384

    def __init__(self, kind: str = "redis", *, size: int = 3) -> None:
        self.kind = kind
        self.size = size
        self.nodes: list[ClusterMember] = []

    def start(self) -> Self:
        """Start the nodes, make them a cluster and wait until all of them serve.

        Raises:
            ServerFailed: a node failed, or they did not agree in time.
        """
        for _ in range(self.size):
            node = ClusterMember(self.kind)
            self.nodes.append(node)
            node.start()

        for index, node in enumerate(self.nodes):
            first, after = (self.SLOTS * edge // self.size for edge in (index, index + 1))
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
                # Nodes that meet with the same epoch would settle it by a slow election.
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", node.host, node.port, node.bus_port)

        wait_until(lambda: all(map(self._serves, self.nodes)), GROUP_DEADLINE, self._failure)
        return self

    def url(self) -> str:
        """Return the address of one node, from which a client learns the others."""
        return self.nodes[0].url()

    def client(self, **options: Any) -> RedisCluster:
        """Return a new cluster client that never retries."""
        startup_nodes = [ClusterNode(node.host, node.port) for node in self.nodes]
        return RedisCluster(startup_nodes=startup_nodes, **{"retry": no_retries(), **options})

    def close(self) -> None:
        """End all processes and remove their directories."""
        for node in self.nodes:
            node.close()

    def _serves(self, node: Server) -> bool:
        with node.client(decode_responses=True) as client:
            info: dict[str, str] = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == self.size

    def _failure(self) -> ServerFailed:
        logs = "\n".join(f"[{node.port}]\n{node.log()}" for node in self.nodes)
        return ServerFailed(f"the cluster did not form within {GROUP_DEADLINE:g} s; its logs:\n{logs}")
