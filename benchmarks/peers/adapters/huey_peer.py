"""Huey with its Redis storage and threads. Waiters are notified where there are any."""

import body
from huey import RedisExpireHuey

huey = RedisExpireHuey("peers", expire_time=3600, url=body.URL, notify_result=body.CELL == "ask")

work = huey.task(name="work")(body.work)


def worker():
    huey.create_consumer(workers=body.CONCURRENCY, worker_type="thread").run()


def ask(*arguments):
    return work(*arguments).get(blocking=True, timeout=body.PATIENCE)


if __name__ == "__main__":
    body.main(worker, work, ask)
