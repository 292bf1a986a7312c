"""The example under uvicorn: requests that wait for jobs, on one event loop."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"
REQUESTS = 200


@contextlib.contextmanager
def example(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the example's folder with the example's settings, ended by its pid."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    own = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "site_config.settings"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=EXAMPLE,
            env={**inherited, **own, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read().decode())
            raise
        finally:
            process.kill()
            process.wait()


async def get(port: int, path: str) -> tuple[int, Any]:
    """One HTTP request; the status and the JSON of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.timeout(180)
def test_two_hundred_requests_wait_for_jobs_on_one_subscriber_connection(
    server: Server, key_prefix: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "REDIS_URL": server.url(), "JOBQUEUE_KEY_PREFIX": key_prefix, "DATABASE_PATH": str(tmp_path / "db.sqlite3")
    }  # fmt: skip
    files = ["json/decoder.py", "json/encoder.py", "json/scanner.py", "queue.py", "heapq.py", "bisect.py"]

    async def ask(client: Any) -> tuple[list[tuple[int, Any]], list[str]]:
        # Distinct ids, so that each request waits for a job of its own.
        paths = [f"/outline/?path={'./' * (n // len(files))}{files[n % len(files)]}" for n in range(REQUESTS)]
        tasks = [asyncio.create_task(get(port, path)) for path in paths]
        while client.llen(f"{key_prefix}queue") < REQUESTS:
            await asyncio.sleep(0.02)
        names = [one["name"] for one in client.client_list()]
        with example("django", "jobqueue_worker", "--concurrency", "4", **environment):
            return await asyncio.gather(*tasks), names

    uvicorn = ("uvicorn", "site_config.asgi:application", "--port", str(port), "--lifespan", "off")
    with example(*uvicorn, **environment), server.client() as client:
        wait_until(lambda: accepts(port), 30, lambda: AssertionError("uvicorn does not listen"))
        answers, names = asyncio.run(ask(client))

        assert [status for status, _ in answers] == [200] * REQUESTS
        assert "json.decoder.JSONDecoder" in [one["name"] for one in answers[0][1]["definitions"]]
        assert names.count("django-jobqueue:subscriber:default") == 1


def test_a_request_for_a_file_that_is_not_there_is_told_so(server: Server, key_prefix: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "REDIS_URL": server.url(), "JOBQUEUE_KEY_PREFIX": key_prefix, "DATABASE_PATH": str(tmp_path / "db.sqlite3")
    }  # fmt: skip
    uvicorn = ("uvicorn", "site_config.asgi:application", "--port", str(port), "--lifespan", "off")
    with example(*uvicorn, **environment), example("django", "jobqueue_worker", **environment):
        wait_until(lambda: accepts(port), 30, lambda: AssertionError("uvicorn does not listen"))

        for path in ("nowhere.py", "../../etc/passwd", "x" * 600, "%0a"):
            status, answer = asyncio.run(get(port, f"/outline/?path={path}"))
            assert (status, list(answer)) == (404, ["problem"])
