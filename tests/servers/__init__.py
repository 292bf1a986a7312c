"""Launchers of real Redis and Valkey servers, alone, under Sentinel and in a cluster.

Every server listens on loopback only, on a free port, in a temporary directory of its own, and logs to
``log`` in that directory. Whatever way the tests end, no server and no directory stays behind.
"""

from .certificates import Certificates, make_certificates
from .cluster import Cluster, ClusterMember
from .programs import LOOPBACK, PORTS, ServerFailed, ServerNotFound, binary_version, find_binary, free_port
from .sentinel import SentinelProcess, SentinelTrio
from .server import PORT_ATTEMPTS, ConfigValue, ExternalServer, Server
from .waiting import GROUP_DEADLINE, SERVER_DEADLINE, wait_until

__all__ = [
    "GROUP_DEADLINE", "LOOPBACK", "PORTS", "PORT_ATTEMPTS", "SERVER_DEADLINE", "Certificates", "Cluster",
    "ClusterMember", "ConfigValue", "ExternalServer", "SentinelProcess", "SentinelTrio", "Server",
    "ServerFailed", "ServerNotFound", "binary_version", "find_binary", "free_port", "make_certificates",
    "wait_until",
]  # fmt: skip
