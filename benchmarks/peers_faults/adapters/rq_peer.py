"""RQ. Row "tuned": retries, and short intervals; an idle worker does its maintenance 15 s before its TTL."""

import body
import redis
import rq

connection = redis.Redis.from_url(body.URL)
queue = rq.Queue("peers", connection=connection)

INTERVALS = {"default": {}, "tuned": {"job_monitoring_interval": 5, "maintenance_interval": 5, "worker_ttl": 20}}


def worker():
    rq.Worker([queue], connection=connection, **INTERVALS[body.ROW]).work()


def enqueue(kind, job_id, seconds):
    retry = rq.Retry(max=2) if body.ROW == "tuned" else None
    queue.enqueue(f"body.{kind}", job_id, seconds, job_id=job_id, retry=retry)


def result(job_id):
    job = rq.job.Job.fetch(job_id, connection=connection)
    return job.return_value()


if __name__ == "__main__":
    body.main(worker, enqueue, result)
