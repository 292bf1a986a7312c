"""For each transition: the command never arrived, its reply was lost, or the link went silent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import pytest

from django_jobqueue.queue import Queue
from django_jobqueue.storage import connections
from django_jobqueue.storage.scripts import script
from django_jobqueue.worker import Worker
from tests.faults.proxy import Loss, Proxy
from tests.faults.resp import script_names
from tests.faults.rig import SILENCE, Rig
from tests.faults.transitions import TRANSITIONS, Story
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


CUTS = [Loss.COMMAND, Loss.REPLY]
SILENT = [Loss.HALF_OPEN_REQUEST, Loss.HALF_OPEN_REPLY]


def _name(command: str, nth: int, story: Story) -> str:
    return f"{story.__name__}-{command}" + (f"-{nth}" if nth > 1 else "")


def test_every_script_that_changes_something_is_among_the_transitions() -> None:
    folder = resources.files("django_jobqueue") / "lua"
    names = {file.name.removesuffix(".lua") for file in folder.iterdir() if file.name.endswith(".lua")}
    changing = {name for name in names if "no-writes" not in script(name).source.splitlines()[0]}

    assert changing - {command for command, _, _ in TRANSITIONS} == set()


@pytest.mark.parametrize("loss", CUTS, ids=lambda loss: loss.name.lower())
@pytest.mark.parametrize(("command", "nth", "story"), [pytest.param(*one, id=_name(*one)) for one in TRANSITIONS])
def test_a_transition_survives_a_cut(server: Server, command: str, nth: int, story: Story, loss: Loss) -> None:
    with Rig(server, command, loss, nth) as rig:
        story(rig)


@pytest.mark.parametrize("loss", SILENT, ids=lambda loss: loss.name.lower())
def test_every_transition_survives_a_silent_link(server: Server, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    # BLMOVE's link counts as dead this much later than the end of its own time.
    monkeypatch.setattr(connections, "READ_MARGIN", SILENCE)

    def told(command: str, nth: int, story: Story) -> Exception | None:
        try:
            with Rig(server, command, loss, nth) as rig:
                story(rig)
        except Exception as error:
            error.add_note(_name(command, nth, story))
            return error
        return None

    # All at once, for each waits until its client takes the link for dead.
    with ThreadPoolExecutor(len(TRANSITIONS)) as threads:
        errors = [error for error in threads.map(lambda one: told(*one), TRANSITIONS) if error is not None]

    if errors:
        raise ExceptionGroup(f"{loss.value}: {len(errors)} of {len(TRANSITIONS)} transitions", errors)


@pytest.mark.parametrize("loss", CUTS, ids=lambda loss: loss.name.lower())
@pytest.mark.parametrize("name", ["claim", "hold", "complete", "retry", "BLMOVE", "renew"])
def test_a_worker_goes_on_and_runs_every_job(
    server: Server, proxy: Proxy, loss: Loss, name: str, settings: Any, key_prefix: str, told: list[str]
) -> None:
    from django_jobqueue import queues

    settings.JOBQUEUE = {
        "default": {
            "URL": f"redis://127.0.0.1:{proxy.port}/0", "CACHE": None, "KEY_PREFIX": key_prefix,
            "RETRY_BACKOFF": 0, "BLOCK_TIMEOUT": 1, "VISIBILITY_TIMEOUT": 30,
        }
    }  # fmt: skip
    queue: Queue = queues["default"]
    runs: list[str] = []

    def handler(job: Any) -> Any:
        if name == "retry" and job.attempts == 1:
            raise ValueError("once more")
        runs.append(job.id)
        return job.payload

    for lua in script_names().values():
        with server.client() as client:
            client.script_load(script(lua).source)
    proxy.lose(name, loss)
    worker = Worker(queue, handler=handler, concurrency=2)
    worker.start()
    ids = [f"job-{n}" for n in range(20)]
    queue.enqueue_many([(job_id, job_id) for job_id in ids])

    assert [queue.wait(job_id, timeout=25) for job_id in ids] == ids
    wait_until(proxy.struck.is_set, 40, lambda: AssertionError(f"{name} was never sent"))
    queue.enqueue("last", "last")
    assert queue.wait("last", timeout=25) == "last"
    worker.stop()
    # No lease was given up, so nothing ran twice.
    assert sorted(runs) == sorted([*ids, "last"])
    # A completion whose reply was lost counts as this worker's when it is sent again. A thread of the stopped worker
    # may be about to tell the last.
    wait_until(lambda: len(told) >= len(runs), 30, lambda: AssertionError(str(told)))
    assert sorted(told) == sorted(runs)
    queues.close()
