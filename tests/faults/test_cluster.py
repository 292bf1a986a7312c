"""A cluster that fails over, moves slots, grows and loses nodes while a queue works on it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from redis.crc import key_slot

from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import NotReplicated, StorageError, UnsupportedServer
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue, queues
from django_jobqueue.storage import replication, transport
from django_jobqueue.storage.redis import RedisStorage
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.conftest import noted
from tests.faults.processes import CommandProcess
from tests.servers import Cluster, ClusterMember, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

#: Seconds; no worker loses a job only because the machine stands still.
VISIBILITY = 10.0


def is_accepted(queue: Queue, job_id: str) -> bool:
    """Whether an enqueue is answered, this time."""
    try:
        return queue.enqueue(job_id).status in ("queued", "duplicate")
    except StorageError:
        return False


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries with a replica each. A test that kills a node calls ``restore()`` after it."""
    with Cluster(request.param, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def prefix(key_prefix: str) -> str:
    """A prefix with a hash tag."""
    return f"{{{key_prefix[:-1]}}}:"


@pytest.fixture
def slot(prefix: str) -> int:
    """The slot of the queue."""
    return key_slot(prefix.encode())


@pytest.fixture
def configure(prefix: str, settings: Any) -> Iterator[Callable[..., Queue]]:
    """The default queue with settings: ``configure(URL=...)``."""

    def change(**changed: Any) -> Queue:
        common = {"CACHE": None, "KEY_PREFIX": prefix, "VISIBILITY_TIMEOUT": VISIBILITY, "BLOCK_TIMEOUT": 1}
        settings.JOBQUEUE = {"default": {**common, **changed}}
        return queues["default"]

    yield change
    queues.close()


@pytest.fixture
def queue(cluster: Cluster, slot: int, configure: Callable[..., Queue]) -> Queue:
    """The default queue; its URL names a node that does not serve it."""
    return configure(URL=others(cluster, slot)[0].url())


@pytest.fixture
def worker_process(queue: Queue) -> Iterator[CommandProcess]:
    """A worker with a process of its own."""
    with CommandProcess(
        queue.config.url or "", queue.config.key_prefix, "jobqueue_worker", "--concurrency", "4",
        JOBQUEUE_PROCESS_VISIBILITY=str(VISIBILITY),
    ) as process:  # fmt: skip
        process.wait_for("Stop with Ctrl-C")
        yield process


def others(cluster: Cluster, slot: int) -> list[ClusterMember]:
    """The primaries that do not serve a slot."""
    serving = {cluster.owner(first) for first in (0, 8000, 16383)}
    return sorted(serving - {cluster.owner(slot)}, key=lambda node: node.port)


def replicate(node: ClusterMember, prefix: str) -> None:
    """Wait until all that was written before has reached the replica."""
    with node.client() as client:
        # WAIT is about what its own connection wrote last, and all that went before.
        client.set(f"{prefix}mark", 1)
        client.delete(f"{prefix}mark")
        assert client.wait(1, 20_000) >= 1


def all_completed(queue: Queue, ids: list[str]) -> bool:
    try:
        states = queue.get_job_states(ids).values()
    except StorageError:
        return False
    return all(state is not None and state.status is Status.COMPLETED for state in states)


class Producer(threading.Thread):
    """Enqueues jobs until told to stop; the ids of those that were accepted, and what was raised."""

    def __init__(self, journal: Path) -> None:
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self.error: BaseException | None = None
        self._journal = journal
        self._enough = threading.Event()

    def run(self) -> None:
        n = 0
        try:
            while not self._enough.wait(0.01):
                jobs.append_line.using(id=f"load-{n}").enqueue(str(self._journal), f"load-{n}", 0.01)
                self.accepted.append(f"load-{n}")
                n += 1
        except BaseException as error:
            self.error = error

    def stop(self) -> list[str]:
        """The accepted jobs."""
        self._enough.set()
        self.join(30)
        assert self.error is None, self.error
        return self.accepted


def audit(cluster: Cluster, slot: int, queue: Queue, ids: list[str]) -> None:
    with cluster.owner(slot).client() as client:
        Auditor(client, queue.config.key_prefix).check(ids)


def test_workers_and_waiters_outlast_the_death_of_the_slots_primary(
    cluster: Cluster, slot: int, queue: Queue, worker_process: CommandProcess, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(60)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 0.05)
    results: list[Any] = []
    waiter = threading.Thread(target=lambda: results.append(queue.wait(ids[-1], timeout=90)), daemon=True)
    waiter.start()
    old = cluster.owner(slot)
    wait_until(lambda: len(noted(journal, "end")) > 5, 30, never)
    replicate(old, queue.config.key_prefix)

    old.kill()

    wait_until(lambda: all_completed(queue, ids), 90, never)
    waiter.join(90)
    cluster.restore()
    assert results == [ids[-1]]
    assert queue.enqueue_and_wait("after", {"job": "tests.app.jobs.echo", "args": [1], "kwargs": {}}, timeout=60) == 1
    assert cluster.owner(slot) is not old
    assert set(noted(journal, "end")) == set(ids)
    audit(cluster, slot, queue, ids)


def test_a_slot_moves_forth_and_back_under_load(
    cluster: Cluster, slot: int, queue: Queue, worker_process: CommandProcess, journal: Path
) -> None:
    # Only Valkey 9 moves slots by itself.
    ways = [cluster.migrate, *([cluster.migrate_at_once] if cluster.kind == "valkey" else [])]
    here, there = cluster.owner(slot), others(cluster, slot)[-1]
    producer = Producer(journal)
    producer.start()
    wait_until(lambda: len(noted(journal, "end")) > 5, 30, never)

    for move, target in itertools.product(ways, (there, here)):
        move(slot, target)
        before = len(noted(journal, "end"))
        wait_until(lambda before=before: len(noted(journal, "end")) > before + 5, 30, never)

    ids = producer.stop()
    wait_until(lambda: all_completed(queue, ids), 60, never)
    # Nothing was lost, and no job ran twice, since no worker died.
    assert sorted(noted(journal, "begin")) == sorted(ids)
    audit(cluster, slot, queue, ids)


def test_a_waiter_and_a_new_node(
    cluster: Cluster, slot: int, queue: Queue, worker_process: CommandProcess, journal: Path
) -> None:
    here = cluster.owner(slot)
    jobs.append_line.using(id="long").enqueue(str(journal), "long", 2.0)
    wait_until(lambda: noted(journal, "begin") == ["long"], 30, never)
    new = cluster.add_node()

    cluster.migrate(slot, new)

    assert queue.wait("long", timeout=60) == "long"
    assert jobs.echo.enqueue_and_wait("there") == "there"
    cluster.migrate(slot, here)
    assert jobs.echo.enqueue_and_wait("back") == "back"
    assert noted(journal, "begin") == ["long"]


@pytest.mark.parametrize("moved", [False, True], ids=["keys here", "keys there"])
def test_what_is_enqueued_while_the_slot_is_on_its_way_arrives(
    cluster: Cluster, slot: int, queue: Queue, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("before")
    here, there = cluster.owner(slot), others(cluster, slot)[-1]
    cluster.begin_migration(slot, there)
    if moved:
        cluster.move_keys(slot, there)
    with monkeypatch.context() as patch:
        patch.setattr(transport, "MOVE_PATIENCE", 0.2)
        with pytest.raises(StorageError, match="it is safe to try again"):
            queue.enqueue("impatient")
    # What a lost connection gets has nothing to do with it.
    monkeypatch.setattr(transport, "RESEND_DELAYS", ())
    enqueueing = threading.Thread(target=queue.enqueue, args=("patient",), daemon=True)
    enqueueing.start()

    cluster.move_keys(slot, there)
    cluster.finish_migration(slot, there)
    enqueueing.join(30)

    states = queue.get_job_states(["before", "impatient", "patient"]).values()
    assert [state and state.status for state in states] == [Status.QUEUED, None, Status.QUEUED]
    audit(cluster, slot, queue, ["before", "patient"])
    cluster.migrate(slot, here)


def test_what_no_replica_of_the_slot_confirms_is_told(
    cluster: Cluster, slot: int, prefix: str, configure: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = cluster.owner(slot)
    replica = next(node for node in cluster.nodes if cluster.primary_port(node) == primary.port)
    queue = configure(URL=f"{others(cluster, slot)[0].url()}?socket_timeout=60", MIN_REPLICAS=1)
    # A replica that lives has all the time that it needs.
    monkeypatch.setattr(replication, "CONFIRM_TIMEOUT", 20.0)

    queue.enqueue("confirmed")

    with replica.client() as client:
        client.execute_command("READONLY")
        # Acknowledged means applied: no need to wait here.
        assert client.llen(f"{prefix}queue") == 1
    replica.freeze()
    try:
        with monkeypatch.context() as patch, pytest.raises(NotReplicated, match="0 of the 1 replicas"):
            patch.setattr(replication, "CONFIRM_TIMEOUT", 0.5)
            queue.enqueue("unconfirmed")
    finally:
        replica.thaw()
    assert queue.enqueue("unconfirmed").status == "duplicate"
    audit(cluster, slot, queue, ["confirmed", "unconfirmed"])


def test_the_node_that_the_settings_name_may_die_before_the_primary_does(
    cluster: Cluster, slot: int, prefix: str, configure: Callable[..., Queue]
) -> None:
    old = cluster.owner(slot)
    # A replica of another primary: most primaries must live on, and one of this primary's replicas.
    seed = next(node for node in cluster.nodes if cluster.primary_port(node) not in (None, old.port))
    queue = configure(URL=seed.url())
    queue.enqueue("before")
    replicate(old, prefix)

    seed.kill()
    old.kill()

    try:
        wait_until(lambda: is_accepted(queue, "after"), 60, never)
        assert None not in queue.get_job_states(["before", "after"]).values()
    finally:
        cluster.restore()


def test_a_cache_may_name_several_nodes(
    cluster: Cluster, slot: int, configure: Callable[..., Queue], settings: Any
) -> None:
    dead, alive = others(cluster, slot)
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": [dead.url(), alive.url()]},
    }
    dead.kill()
    try:
        queue = configure(CACHE="default")

        # A cluster that has noticed the loss serves nothing until the replica has taken over.
        wait_until(lambda: is_accepted(queue, "a"), 60, never)
    finally:
        queues.close()
        cluster.restore()


@pytest.mark.parametrize(
    "options",
    [{}, {"CONNECTION_FACTORY": "tests.faults.cluster_factory.ClusterFactory"}],
    ids=["plain", "RedisCluster"],
)
def test_a_cache_on_a_cluster(
    cluster: Cluster, slot: int, configure: Callable[..., Queue], settings: Any, options: dict[str, Any]
) -> None:
    location = others(cluster, slot)[0].url()
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options},
    }
    queue = configure(CACHE="default")
    worker = Worker(queue)
    worker.start()
    try:
        assert jobs.echo.enqueue_and_wait("ünï") == "ünï"
        assert queue.stats().completed == 1
        with cluster.owner(slot).client(decode_responses=True) as client:
            names = [one["name"] for one in client.client_list()]
        assert ("of-the-factory" in names) == bool(options)
    finally:
        worker.stop()
    assert queue.clear() > 0


def test_the_documented_rights_suffice_on_a_cluster(
    cluster: Cluster, slot: int, configure: Callable[..., Queue], prefix: str
) -> None:
    groups = "+@connection +@read +@write +@transaction +@scripting +@pubsub"
    rights = f"on >s3cret ~{prefix}* &{prefix}* &job:events -@all {groups}"
    for node in cluster.nodes:
        with node.client() as client:
            client.execute_command(
                "ACL SETUSER", "app", *rights.split(), "+@blocking", "+info", "+time", "+cluster|slots"
            )
    queue = configure(URL=others(cluster, slot)[0].url(username="app", password="s3cret"))
    worker = Worker(queue)
    worker.start()
    try:
        assert jobs.echo.enqueue_and_wait("allowed") == "allowed"
    finally:
        worker.stop()


def test_a_prefix_without_hash_tag_is_refused(cluster: Cluster, settings: Any) -> None:
    settings.JOBQUEUE = {
        alias: {"URL": cluster.url(), "CACHE": None, "KEY_PREFIX": f"jq:{alias}:"} for alias in ("default", "emails")
    }
    remedy = r"KEY_PREFIX'\] is 'jq:emails:'.*Set KEY_PREFIX = '\{jq:emails\}:'"

    with pytest.raises(UnsupportedServer, match=remedy):
        queues["emails"].enqueue("a")
    with pytest.raises(UnsupportedServer, match=remedy):
        Worker(queues["emails"]).run()
    with pytest.raises(SystemCheckError, match=r"(?s)E008\).*'\{jq:default\}:'.*'\{jq:emails\}:'"):
        call_command("check", "--deploy", "--tag", "django_jobqueue")
    queues.close()


@pytest.mark.parametrize(
    ("key_prefix", "fits"), [("jq:", False), ("{}:", False), ("{jq:", False), ("}jq{:", False), ("a{jq}:", True)]
)
def test_the_rule_of_hash_tags_is_the_servers(cluster: Cluster, key_prefix: str, fits: bool) -> None:
    storage = RedisStorage(QueueConfig(cache=None, url=cluster.url(), key_prefix=key_prefix))
    try:
        if fits:
            storage.counts()
        else:
            with pytest.raises(UnsupportedServer):
                storage.counts()
    finally:
        storage.close()
