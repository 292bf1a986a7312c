"""Dramatiq with its Redis broker and result back end.

By default it fetches two messages a thread, and when these are not done yet, it waits ever longer, up to a second.
"""

import os

# Read once, at the import; its name is lower case.
os.environ["dramatiq_queue_prefetch"] = "128"  # noqa: SIM112

import body
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.cli import main as run_workers
from dramatiq.cli import make_argument_parser
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=body.URL)
broker.add_middleware(Results(backend=RedisBackend(url=body.URL)))
dramatiq.set_broker(broker)

work = dramatiq.actor(body.work, actor_name="work", store_results=True)


def worker():
    options = ["dramatiq_peer", "--processes", "1", "--threads", str(body.CONCURRENCY)]
    run_workers(make_argument_parser().parse_args(options))


def ask(*arguments):
    return work.send(*arguments).get_result(block=True, timeout=body.PATIENCE * 1000)


if __name__ == "__main__":
    body.main(worker, work.send, ask)
