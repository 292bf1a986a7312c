"""What only a storage in a file can meet: paths, foreign files, other processes, forks, full disks."""

import multiprocessing
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from django_jobqueue import checks
from django_jobqueue.conf import FILE_STORAGE, QueueConfig, read_settings
from django_jobqueue.exceptions import StorageError, StorageFullError
from django_jobqueue.message import JobMessage
from django_jobqueue.queue import queues
from django_jobqueue.storage.base import Fail, Release, Retry, SuspectKind
from django_jobqueue.storage.file import FileStorage
from django_jobqueue.storage.sqlite import database, schema
from tests.contract.build import claim, commit, complete, enqueue, fail, message, retry, state
from tests.servers import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobqueue.sqlite3"


@pytest.fixture
def open_storage(path: Path) -> Iterator[Callable[..., FileStorage]]:
    """A factory of storages on the file: ``open_storage(visibility_timeout=0.001)``."""
    made: list[FileStorage] = []

    def make(**config: Any) -> FileStorage:
        made.append(FileStorage(QueueConfig(**{"storage": FILE_STORAGE, "path": str(path), **config})))
        return made[-1]

    yield make

    for storage in made:
        storage.close()


@pytest.fixture
def storage(open_storage: Callable[..., FileStorage]) -> FileStorage:
    return open_storage()


# The settings


def test_a_project_needs_neither_redis_nor_a_path(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR, settings.CACHES = tmp_path, {}
    settings.JOBQUEUE = {"default": {"STORAGE": FILE_STORAGE}}

    assert run_checks(tags=["django_jobqueue"]) == []
    assert queues["default"].enqueue("a").status == "queued"
    assert (tmp_path / "jobqueue.sqlite3").exists()
    queues.close()


def test_a_path_is_the_same_for_processes_in_different_folders(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    settings.JOBQUEUE = {
        "default": {"STORAGE": FILE_STORAGE, "PATH": "var/q"},
        "other": {"STORAGE": FILE_STORAGE, "PATH": tmp_path / "x"},
    }

    configs = read_settings()

    assert configs["default"].path == str(tmp_path.resolve() / "var/q")
    assert configs["other"].path == str(tmp_path.resolve() / "x")


@pytest.mark.parametrize("bad", [5, "", ":memory:"])
def test_a_path_that_is_none_is_told(settings: Any, bad: Any) -> None:
    settings.JOBQUEUE = {"default": {"STORAGE": FILE_STORAGE, "PATH": bad}}

    (found,) = run_checks(tags=["django_jobqueue"])

    assert found.id == "django_jobqueue.E003" and "'PATH'" in found.msg


def test_two_queues_share_a_file_but_not_a_prefix(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    shared = {"STORAGE": FILE_STORAGE, "PATH": "q"}
    settings.JOBQUEUE = {"default": shared, "emails": {**shared, "PATH": tmp_path / "q"}}
    assert run_checks(tags=["django_jobqueue"]) == []

    settings.JOBQUEUE = {"default": shared, "emails": {**shared, "PATH": tmp_path / "q", "KEY_PREFIX": "jq:"}}

    assert [one.id for one in run_checks(tags=["django_jobqueue"])] == ["django_jobqueue.E006"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_told(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mounts"
    folder = tmp_path / "a b"
    folder.mkdir()
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nserver:/x {str(folder).replace(' ', chr(92) + '040')} {kind} rw 0 0\n")
    monkeypatch.setattr(checks, "_MOUNTS", mounts)
    settings.JOBQUEUE = {"default": {"STORAGE": FILE_STORAGE, "PATH": folder / "q"}}

    (found,) = run_checks(tags=["django_jobqueue"])

    assert found.id == "django_jobqueue.W001" and kind in found.msg
    assert checks.file_system(tmp_path / "elsewhere") == "ext4"


def test_a_missing_folder_is_told_by_the_check_and_by_the_storage(
    settings: Any, tmp_path: Path, open_storage: Callable[..., FileStorage]
) -> None:
    missing = tmp_path / "missing" / "q"
    settings.JOBQUEUE = {"default": {"STORAGE": FILE_STORAGE, "PATH": missing}}

    (found,) = run_checks(tags=["django_jobqueue"])

    assert found.id == "django_jobqueue.W002" and "does not exist" in found.msg
    with pytest.raises(StorageError, match="existing folder"):
        open_storage(path=str(missing)).counts()


# The file


def test_the_file_of_another_program_is_refused_and_left_alone(storage: FileStorage, path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (id)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(StorageError, match="tables of another program; set PATH"):
        storage.counts()

    assert path.read_bytes() == before


def test_a_file_of_a_newer_release_is_refused(open_storage: Callable[..., FileStorage], path: Path) -> None:
    first = open_storage()
    first.counts()
    first.close()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    other.close()

    with pytest.raises(StorageError, match="a newer release made it; upgrade"):
        first.counts()


def test_a_file_that_is_no_database_is_told(storage: FileStorage, path: Path) -> None:
    path.write_bytes(b"no database " * 1000)

    with pytest.raises(StorageError, match="damaged or no database"):
        storage.counts()


def test_a_deleted_file_is_made_anew_and_not_written_to_unseen(
    open_storage: Callable[..., FileStorage], path: Path
) -> None:
    storage = open_storage()
    enqueue(storage, message("a"))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()

    assert enqueue(storage, message("b")) == [None]

    assert open_storage().counts().queued == 1
    assert [one.id for one in claim(open_storage())] == ["b"]


def test_a_writer_that_takes_too_long_is_told(
    storage: FileStorage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.counts()
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageError, match="another process has been writing for long"):
        enqueue(storage, message("a"))

    assert storage.counts().queued == 0
    other.execute("ROLLBACK")
    other.close()
    assert enqueue(storage, message("a")) == [None]


def test_a_full_disk_is_told_and_nothing_is_half_written(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_little_room(self: Any, connection: sqlite3.Connection) -> None:
        real(self, connection)
        connection.execute("PRAGMA max_page_count = 60")

    real = database.FileDatabase._prepare
    monkeypatch.setattr(database.FileDatabase, "_prepare", with_little_room)
    enqueue(storage, message("small"))

    with pytest.raises(StorageFullError, match="full"):
        enqueue(storage, message("b"), message("large", "x" * 500_000))

    assert storage.states(["small", "b", "large"])[1:] == [None, None]
    assert commit(storage, complete(claim(storage)[0])) == [True]


# Processes and threads


def _enqueue_in_child(storage: FileStorage, first: int) -> None:
    enqueue(storage, *(message(f"child-{n}") for n in range(first, first + 50)))


def test_forked_children_and_their_parent_share_the_queue(storage: FileStorage) -> None:
    enqueue(storage, message("before"))
    end = storage.listen_events(lambda *_: None)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_enqueue_in_child, args=(storage, 50 * n)) for n in range(4)]

    with warnings.catch_warnings():
        # Newer Pythons warn that the feed's thread does not go along; that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        for child in children:
            child.start()
    for n in range(50):
        enqueue(storage, message(f"parent-{n}"))
    for child in children:
        child.join(30)

    assert [child.exitcode for child in children] == [0] * 4
    assert storage.counts().queued == 251
    with storage._database.reading("checking") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    end()


def test_many_may_open_a_new_file_at_once(open_storage: Callable[..., FileStorage], tmp_path: Path) -> None:
    for attempt in range(20):
        path, together = str(tmp_path / f"new-{attempt}"), threading.Barrier(6)
        opened: list[str | None] = []

        def first_use(path: str, together: threading.Barrier, opened: list[str | None]) -> None:
            storage = open_storage(path=path)
            together.wait(10)
            opened.extend(enqueue(storage, message("a")))

        threads = [threading.Thread(target=first_use, args=(path, together, opened)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert sorted(map(str, opened)) == ["None", *["queued"] * 5]


def test_threads_share_a_storage(storage: FileStorage) -> None:
    taken: list[list[str]] = [[] for _ in range(4)]

    def work(n: int) -> None:
        enqueue(storage, *(message(f"{n}-{i}") for i in range(100)))
        while found := claim(storage, f"worker-{n}", 7):
            taken[n] += [one.id for one in found]
            commit(storage, *map(complete, found), worker_id=f"worker-{n}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(job_id for one in taken for job_id in one) == sorted(
        f"{n}-{i}" for n in range(4) for i in range(100)
    )
    assert storage.counts().completed == 400


def test_a_listener_that_fell_behind_looks_at_its_jobs_anew(storage: FileStorage) -> None:
    held, go_on, resynced = threading.Event(), threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        held.set()
        go_on.wait(30)

    ends = [storage.listen_events(slow), storage.listen_job("a", lambda event: None, resynced.set).end]
    enqueue(storage, message("first"))
    assert held.wait(10)
    enqueue(storage, *(message(f"job-{n}") for n in range(schema.EVENTS_KEPT + 1000)))

    go_on.set()

    assert resynced.wait(30)
    for end in ends:
        end()


# The cost of each query


def test_no_query_walks_through_the_jobs(storage: FileStorage, open_storage: Callable[..., FileStorage]) -> None:
    statements: set[str] = set()
    hasty = open_storage(visibility_timeout=0.001)
    for one in (storage, hasty):
        one.counts()
        for idle in one._database._idle:  # type: ignore[attr-defined]
            idle.set_trace_callback(statements.add)

    _do_everything(storage, hasty)

    # A copy, since the thread that looks for changes goes on.
    seen = statements.copy()
    assert len(seen) > 50
    with closing(storage._database._open()) as connection:  # type: ignore[attr-defined]
        for statement in seen:
            if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                    bounded = "SCAN CONSTANT ROW" in step or "sqlite_schema" in statement
                    assert bounded or not step.startswith("SCAN"), f"{step}: {statement}"
                    assert "USE TEMP B-TREE" not in step or "worker = " in statement, f"{step}: {statement}"


def _do_everything(storage: FileStorage, hasty: FileStorage) -> None:
    """Each transition once, with its outcomes."""
    enqueue(storage, *(message(job_id) for job_id in "abcdefghij"), message("a"))
    enqueue(storage, message("later"), delay_ms=1)
    storage.cancel("j")
    taken = storage.wait_and_take("worker", 1)
    assert taken is not None
    storage.start("worker", JobMessage.decode(taken))
    jobs = {one.id: one for one in claim(storage)}
    wait_until(lambda: storage.promote(10)[0] == 1, 5, lambda: AssertionError("not promoted"))
    commit(storage, complete(jobs["b"], ttl_ms=1), fail(jobs["c"]), retry(jobs["d"]), retry(jobs["e"], 1000))
    commit(storage, Release(jobs["f"]), Retry(jobs["f"], jobs["f"].with_attempts(1), 0, resent=True))
    storage.retry_dead("c")
    storage.update_ttl("b", 1)
    storage.set_progress("g", b"{}")
    storage.renew("worker", b"{}", list(jobs.values()))
    storage.lookup(["a", "b", "nobody"]), storage.states(["a"]), storage.counts(), storage.workers()
    storage.held("worker"), storage.heartbeats(), storage.vanished_workers([])
    storage.quarantine("worker", jobs["h"].raw, b"{}")
    wait_until(lambda: len(hasty.suspects(["worker"])) >= 3, 5, lambda: AssertionError("no suspects"))
    by_id = {JobMessage.decode(one.raw).id: one for one in hasty.suspects(["worker"])}
    assert by_id["a"].kind is SuspectKind.STALLED
    hasty.recover(by_id["g"], jobs["g"], jobs["g"].with_attempts(1))
    hasty.discard(by_id["i"], jobs["i"])
    hasty.fail_stalled(by_id["i"], Fail(jobs["i"], b"{}", 1000, expected=by_id["i"].state))
    wait_until(lambda: state(storage, "b") is None, 5, lambda: AssertionError("not over"))
    storage.expire(10)
    storage.unregister("worker"), storage.unregister("nobody", 5)
    storage.acquire_lock("me", 5), storage.renew_lock("me", 5), storage.release_lock("me")
    storage.clear()
