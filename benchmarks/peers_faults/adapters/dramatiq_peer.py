"""Dramatiq with its Redis broker and result back end.

Row "tuned": a worker counts as dead after 5 s, and every command looks for dead ones, instead of one in a thousand.
"""

import body
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.cli import main as run_workers
from dramatiq.cli import make_argument_parser
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from dramatiq.results.errors import ResultMissing

TUNED = {"heartbeat_timeout": 5_000, "maintenance_chance": 1_000_000} if body.ROW == "tuned" else {}
broker = RedisBroker(url=body.URL, **TUNED)
broker.add_middleware(Results(backend=RedisBackend(url=body.URL)))
dramatiq.set_broker(broker)

KINDS = {
    kind: dramatiq.actor(getattr(body, kind), actor_name=kind, store_results=True) for kind in ("sleep", "poison")
}


def worker():
    options = ["dramatiq_peer", "--processes", "1", "--threads", "1"]
    run_workers(make_argument_parser().parse_args(options))


def enqueue(kind, job_id, seconds):
    broker.enqueue(message_of(kind, job_id, seconds))


def result(job_id):
    try:
        return message_of("sleep", job_id, 0).get_result()
    except ResultMissing:
        return None


def message_of(kind, job_id, seconds):
    return KINDS[kind].message(job_id, seconds).copy(message_id=job_id)


if __name__ == "__main__":
    body.main(worker, enqueue, result)
