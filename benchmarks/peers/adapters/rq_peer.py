"""RQ. Modes: "fork", the default worker, which forks for each job, and "simple", which does not.

The jobs' module is imported before the worker forks, as its documentation advises.
"""

import body
import redis
import rq

connection = redis.Redis.from_url(body.URL)
queue = rq.Queue("peers", connection=connection)
WORKERS = {"fork": rq.Worker, "simple": rq.SimpleWorker}


def worker():
    WORKERS[body.MODE]([queue], connection=connection).work()


def enqueue(*arguments):
    return queue.enqueue(body.work, *arguments, retry=rq.Retry(max=2))


def ask(*arguments):
    return enqueue(*arguments).latest_result(timeout=body.PATIENCE).return_value


if __name__ == "__main__":
    body.main(worker, enqueue, ask)
