"""streaq, on asyncio."""

import body
from streaq import Worker

queue = Worker(redis_url=body.URL, concurrency=body.CONCURRENCY)

work = queue.task(name="work")(body.awork)

_opened = []


async def enqueue(*arguments):
    if not _opened:
        _opened.append(await queue.__aenter__())
    return await work.enqueue(*arguments)


async def ask(*arguments):
    return (await (await enqueue(*arguments)).result(timeout=body.PATIENCE)).result


if __name__ == "__main__":
    body.main(queue.run_sync, enqueue, ask)
