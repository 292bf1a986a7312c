"""arq. It polls, by default twice a second, and takes no more jobs at a poll than it may run at a time."""

import arq
import body
from arq.connections import RedisSettings

POLL_DELAY = 0.001
SETTINGS = RedisSettings.from_dsn(body.URL)

_pools = []


async def work(context, *arguments):
    return await body.awork(*arguments)


def worker():
    functions = [arq.func(work, name="work")]
    arq.Worker(
        functions,
        redis_settings=SETTINGS,
        max_jobs=body.CONCURRENCY,
        poll_delay=POLL_DELAY,
    ).run()


async def enqueue(*arguments):
    if not _pools:
        _pools.append(await arq.create_pool(SETTINGS))
    return await _pools[0].enqueue_job("work", *arguments)


async def ask(*arguments):
    return await (await enqueue(*arguments)).result(timeout=body.PATIENCE, poll_delay=POLL_DELAY)


if __name__ == "__main__":
    body.main(worker, enqueue, ask)
