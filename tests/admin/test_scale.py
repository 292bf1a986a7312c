"""What a page costs the server does not depend on how many jobs there are."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_jobqueue.queue import Queue, queues
from tests.admin.pages import Pages
from tests.contract.build import claim, commit, complete, enqueue, fail, message
from tests.servers import Server

#: More than a page, and far more.
FEW, MANY = 60, 20_000


class Meter:
    """Counts the commands of a server, those inside scripts included, and the bytes it sends."""

    def __init__(self, server: Server) -> None:
        self.client = server.client(decode_responses=True)

    def measure(self, work: Callable[[], object]) -> tuple[Counter[str], int]:
        """The commands and bytes of some work."""
        self.client.config_resetstat()
        work()
        stats = self.client.info("commandstats")
        calls = Counter({name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()})
        for own in ("config|resetstat", "info"):
            del calls[own]
        return calls, self.client.info("stats")["total_net_output_bytes"]


@pytest.fixture
def own_server(make_server: Callable[..., Server]) -> Server:
    """A server that nobody else talks to."""
    return make_server()


@pytest.fixture
def meter(own_server: Server) -> Meter:
    """Its meter."""
    return Meter(own_server)


@pytest.fixture
def lonely_queue(own_server: Server, settings: Any) -> Queue:
    """A queue on it."""
    settings.JOBQUEUE = {"default": {"URL": own_server.url(), "CACHE": None}}
    return queues["default"]


def fill(queue: Queue, number: int) -> None:
    """Have that many queued, scheduled, completed and failed jobs each, and no others."""
    queue.clear()
    storage = queue.storage
    numbers = range(number)
    for ending, name in ((complete, "done"), (fail, "dead")):
        enqueue(storage, *(message(f"{name}-{n:06}") for n in numbers))
        while taken := claim(storage, limit=500):
            commit(storage, *(ending(one) for one in taken))
    enqueue(storage, *(message(f"late-{n:06}") for n in numbers), delay_ms=3_600_000)
    enqueue(storage, *(message(f"next-{n:06}") for n in numbers))


def test_pages_cost_the_same_with_few_and_with_many_jobs(
    boss: Client, pages: Pages, lonely_queue: Queue, meter: Meter
) -> None:
    urls = [pages.overview, *(pages.jobs(part) for part in ("queued", "scheduled", "completed", "failed"))]
    urls += [pages.job("next-000001"), pages.job("done-000001"), pages.job("dead-000001")]
    fill(lonely_queue, FEW)
    for url in urls:
        boss.get(url)  # loads scripts and opens the connection
    few = {url: meter.measure(lambda url=url: boss.get(url)) for url in urls}  # type: ignore[misc]

    fill(lonely_queue, MANY)

    for url in urls:
        commands, sent = meter.measure(lambda url=url: boss.get(url))  # type: ignore[misc]
        assert commands == few[url][0], url
        # The counts have more digits, and completed jobs other ids; nothing else may differ.
        assert abs(sent - few[url][1]) < 1000, url


def test_the_states_of_a_page_are_read_in_one_batch(
    boss: Client, pages: Pages, lonely_queue: Queue, meter: Meter
) -> None:
    fill(lonely_queue, FEW)
    boss.get(pages.jobs("queued"))

    commands, _ = meter.measure(lambda: boss.get(pages.jobs("queued")))

    assert commands["hmget"] == 1
    assert commands["hget"] == 0
    assert commands["evalsha"] + commands["evalsha_ro"] == 1
    assert sum(commands.values()) < 20


def test_large_messages_stay_on_the_server(boss: Client, pages: Pages, lonely_queue: Queue, meter: Meter) -> None:
    enqueue(lonely_queue.storage, *(message(f"job-{n}", "x" * 500_000) for n in range(50)))

    _, sent = meter.measure(lambda: boss.get(pages.jobs("queued")))

    assert sent < 100_000
