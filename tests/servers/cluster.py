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
            "cluster-node-timeout": 4000,
            # A replica may take over however long it has been cut off: tests kill and restart as they like.
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
            # A primary stays one when it has given its last slot away.
            "cluster-allow-replica-migration": "no",
        }


class Cluster(Started):
    """A cluster of primaries, the slots in equal ranges, each with a number of replicas."""

    SLOTS = 16384

    def __init__(self, kind: str = "redis", *, size: int = 3, replicas: int = 0) -> None:
        self.kind = kind
        self.size = size
        self.replicas = replicas
        self.nodes: list[ClusterMember] = []

    def start(self) -> Self:
        """Start the nodes, make them a cluster and wait until all of them serve.

        Raises:
            ServerFailed: a node failed, or they did not agree in time.
        """
        for _ in range(self.size * (1 + self.replicas)):
            self.nodes.append(ClusterMember(self.kind))
            self.nodes[-1].start()

        for index, node in enumerate(self.nodes):
            with node.client() as client:
                if index < self.size:
                    first, after = (self.SLOTS * edge // self.size for edge in (index, index + 1))
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
                # Nodes that meet with the same epoch would settle it by a slow election.
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
        for node in self.nodes[1:]:
            self._meet(node)
        self.wait_until_whole()
        for index, node in enumerate(self.nodes[self.size :]):
            with node.client() as client:
                client.execute_command("CLUSTER REPLICATE", self.node_id(self.nodes[index % self.size]))
        self.wait_until_whole()
        return self

    def add_node(self) -> ClusterMember:
        """Add a primary without slots."""
        node = ClusterMember(self.kind)
        self.nodes.append(node)
        node.start()
        self._meet(node)
        self.wait_until_whole()
        return node

    def owner(self, slot: int) -> ClusterMember:
        """Return the running primary that serves a slot, as the others that run agree.

        Raises:
            ServerFailed: they did not agree in time.
        """
        found: list[ClusterMember] = []

        def agreed() -> bool:
            running = [node for node in self.nodes if node.is_running]
            ports = {_owner_port(node, slot) for node in running}
            found[:] = [node for node in running if {node.port} == ports]
            return bool(found)

        wait_until(agreed, GROUP_DEADLINE, self._failure)
        return found[0]

    def restore(self) -> None:
        """Start the nodes that were killed and wait until the cluster is whole again."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        self.wait_until_whole()

    def begin_migration(self, slot: int, target: ClusterMember) -> None:
        """Declare a slot to be on its way; its keys are still where they were."""
        source = self.owner(slot)
        self._set_slot(target, slot, "IMPORTING", self.node_id(source))
        self._set_slot(source, slot, "MIGRATING", self.node_id(target))

    def move_keys(self, slot: int, target: ClusterMember) -> None:
        """Move the keys of a slot on its way, one by one."""
        with self.owner(slot).client() as client:
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
                client.execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)

    def finish_migration(self, slot: int, target: ClusterMember) -> None:
        """Hand a slot over, and wait until all nodes know it."""
        source = self.owner(slot)
        for node in (target, source):
            self._set_slot(node, slot, "NODE", self.node_id(target))
        wait_until(lambda: self.owner(slot) is target, GROUP_DEADLINE, self._failure)

    def migrate(self, slot: int, target: ClusterMember) -> None:
        """Move a slot to another primary, as ``redis-cli --cluster reshard`` does it."""
        self.begin_migration(slot, target)
        self.move_keys(slot, target)
        self.finish_migration(slot, target)

    def migrate_at_once(self, slot: int, target: ClusterMember) -> None:
        """Move a slot as Valkey 9 does it by itself."""
        with self.owner(slot).client() as client:
            client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.node_id(target))
        wait_until(lambda: self.owner(slot) is target, GROUP_DEADLINE, self._failure)

    def wait_until_whole(self) -> None:
        """Wait until each node knows all others, serves, and has its data."""
        wait_until(lambda: all(map(self._serves, self.nodes)), GROUP_DEADLINE, self._failure)

    @staticmethod
    def primary_port(node: Server) -> int | None:
        """Return the port of the primary that a node replicates; None for a primary."""
        with node.client(decode_responses=True) as client:
            role = client.role()
        return int(role[2]) if role[0] == "slave" else None

    @staticmethod
    def node_id(node: Server) -> str:
        """Return the name by which the cluster knows a node."""
        with node.client(decode_responses=True) as client:
            return str(client.execute_command("CLUSTER MYID"))

    def _meet(self, node: ClusterMember) -> None:
        with self.nodes[0].client() as client:
            client.execute_command("CLUSTER MEET", node.host, node.port, node.bus_port)

    @staticmethod
    def _set_slot(node: Server, slot: int, what: str, node_id: str) -> None:
        with node.client() as client:
            client.execute_command("CLUSTER SETSLOT", slot, what, node_id)

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
            role = client.role()
        has_data = role[0] == "master" or role[3] == "connected"
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == len(self.nodes) and has_data

    def _failure(self) -> ServerFailed:
        logs = "\n".join(f"[{node.port}]\n{node.log()}" for node in self.nodes)
        return ServerFailed(f"the cluster did not form within {GROUP_DEADLINE:g} s; its logs:\n{logs}")


def _owner_port(node: Server, slot: int) -> int | None:
    with node.client(socket_timeout=1) as client:
        for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return int(port)
    return None
