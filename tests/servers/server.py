"""One server: a process of ours, or one that somebody else runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import redis

from .certificates import Certificates, make_certificates
from .programs import LOOPBACK, ServerFailed, find_binary, free_port
from .waiting import SERVER_DEADLINE, no_retries, wait_until
from .warden import Started, warden

#: How often a start is repeated when somebody took the port between our look and the server's bind.
PORT_ATTEMPTS = 5

ConfigValue = str | int | Sequence[str]


class Server(Started):
    """One server process, which keeps its port and its data over restarts.

    Args:
        kind: ``"redis"`` or ``"valkey"``.
        binary: the program; ``find_binary(kind)`` when not given.
        config: lines of the configuration file; a list of strings gives one line each.
        appendonly: log every write to disk before answering, so that a killed server loses nothing.
        unix_socket: listen on ``unix_path`` too.
        tls: listen with TLS on ``tls_port`` too, with a certificate of a private authority, or with these.
        client_certificates: there, refuse clients without a certificate of that authority.
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
        tls: bool | Certificates = False,
        client_certificates: bool = False,
        acl_users: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.host = LOOPBACK
        self.binary = binary or find_binary(kind)
        self.directory = Path(tempfile.mkdtemp(prefix=f"jobqueue-{kind}-"))
        warden.guard("directory", self.directory)
        self.log_path = self.directory / "log"
        self.unix_path = self.directory / "socket" if unix_socket else None
        self.certificates = make_certificates(self.directory) if tls is True else tls or None
        self._client_certificates = client_certificates
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
        """Return the ``rediss://`` address, with what ``tls_options`` has."""
        query = urlencode(self.tls_options())
        return f"rediss://{_credentials(username, password)}{self.host}:{self.tls_port}/{db}?{query}"

    def tls_options(self) -> dict[str, str]:
        """What redis-py needs to know for TLS, as in a URL or in ``CONNECTION_POOL_KWARGS``."""
        files = self.certificates
        assert files is not None, "make the server with tls=True"
        options = {"ssl_ca_certs": str(files.authority)}
        if self._client_certificates:
            options |= {"ssl_certfile": str(files.client_certificate), "ssl_keyfile": str(files.client_key)}
        return options

    def unix_url(self, db: int = 0, *, username: str = "", password: str = "") -> str:
        """Return the ``unix://`` address."""
        assert self.unix_path is not None, "make the server with unix_socket=True"
        return f"unix://{_credentials(username, password)}{self.unix_path}?db={db}"

    def client(self, **options: Any) -> redis.Redis:
        """Return a new client that never retries, so that a test sees each fault as it is."""
        options.setdefault("password", self._config.get("requirepass"))
        return redis.Redis(host=self.host, port=self.port, **{"retry": no_retries(), **options})

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
        warden.release("directory", self.directory)

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
            **self._tls_config(),
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
        return config

    def _tls_config(self) -> dict[str, ConfigValue]:
        if self.certificates is None:
            return {}
        return {
            "tls-port": self.tls_port,
            "tls-ca-cert-file": str(self.certificates.authority),
            "tls-cert-file": str(self.certificates.certificate),
            "tls-key-file": str(self.certificates.key),
            "tls-auth-clients": "yes" if self._client_certificates else "no",
        }

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
        warden.guard("pid", self.pid)
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
        warden.release("pid", process.pid)


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
        return redis.Redis.from_url(self.url(), **{"retry": no_retries(), **options})

    def forget(self, prefix: str) -> None:
        """Delete the keys a test has made."""
        with self.client() as client:
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.unlink(key)


def _credentials(username: str, password: str) -> str:
    return f"{quote(username, safe='')}:{quote(password, safe='')}@" if password else ""


def _config_lines(value: ConfigValue) -> list[str]:
    if isinstance(value, str | int):
        return [str(value) if value != "" else '""']
    return list(value)
