"""taskiq with the stream broker, the one with acknowledgement."""

import body
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

results = RedisAsyncResultBackend(redis_url=body.URL, result_ex_time=3600)
broker = RedisStreamBroker(url=body.URL).with_result_backend(results)

work = broker.task(task_name="work")(body.awork)

_started = []


def worker():
    run_worker(
        WorkerArgs(
            broker="taskiq_peer:broker",
            modules=[],
            workers=1,
            max_async_tasks=body.CONCURRENCY,
            log_level="WARNING",
        )
    )


async def enqueue(*arguments):
    if not _started:
        _started.append(await broker.startup())
    return await work.kiq(*arguments)


async def ask(*arguments):
    task = await enqueue(*arguments)
    return (await task.wait_result(check_interval=0.001, timeout=body.PATIENCE)).return_value


if __name__ == "__main__":
    body.main(worker, enqueue, ask)
