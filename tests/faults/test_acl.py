"""The documented rights of each role suffice, and none is granted in vain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from django.core.management import CommandError

from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import NotReplicated, StorageError
from django_jobqueue.queue import Queue, queues
from django_jobqueue.storage import subscriber
from django_jobqueue.worker import Worker
from tests.contract.build import claimed, commit, complete
from tests.docs.pages import DOCS, blocks, codes, rows, section
from tests.faults.load import happens
from tests.faults.roles import SCENARIOS
from tests.servers import Server

pytestmark = pytest.mark.faults

PAGE = DOCS / "how-to" / "security.md"

#: Denied, and the driver goes on without.
OPTIONAL = {"client|setinfo", "client|maint_notifications"}


class Denied(AssertionError):
    """The server has denied the role something that it needs."""


def documented_rights() -> dict[str, list[str]]:
    """The words after ``ACL SETUSER <role>``, by role."""
    lines = [line for block in blocks(PAGE) for line in block.code.splitlines()]
    found = [re.fullmatch(r"ACL SETUSER (\w+) (.+)", line) for line in lines]
    return {one[1]: one[2].split() for one in found if one}


@dataclass(frozen=True)
class Stage:
    """A server, and how a role plays its scenario there."""

    server: Server
    settings: Any

    def play(self, role: str, rights: list[str]) -> None:
        """Let a role that has these rights do all that it does.

        Raises:
            Denied: it lacks one.
        """
        with self.server.client() as client:
            client.flushall()
            client.script_flush()  # as after a restart
            client.execute_command("ACL", "SETUSER", role, "reset", *rights)
            client.acl_log_reset()

            def check() -> None:
                entries = client.acl_log()
                denied = {entry["object"] for entry in entries if entry["username"] == role} - OPTIONAL
                if denied:
                    # What still runs must be able to end.
                    client.execute_command("ACL", "SETUSER", role, "+@all", "~*", "&*")
                    raise Denied(", ".join(sorted(denied)))

            role_queue, everything = self.open(role)
            try:
                SCENARIOS[role](role_queue, everything, check)
            except (StorageError, CommandError):
                check()
                raise
            finally:
                queues.close()
                everything.close()

    def open(self, role: str, db: int = 0, **alias: Any) -> tuple[Queue, Queue]:
        """The queue as the role has it, and as somebody has it who may do everything."""
        url = self.server.url(db, username=role, password="s3cret")
        timing = {"VISIBILITY_TIMEOUT": 1, "BLOCK_TIMEOUT": 60, "RETRY_BACKOFF": 0}
        self.settings.JOBQUEUE = {"default": {"URL": url, "CACHE": None, **timing, **alias}}
        queue = queues["default"]
        return queue, Queue(replace(queue.config, url=self.server.url()))


@pytest.fixture(scope="module")
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose keys and users are the test's own."""
    with Server(request.param) as server:
        yield server


@pytest.fixture
def stage(own_server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Stage:
    # Soon, so that the right to it is needed soon.
    monkeypatch.setattr(subscriber, "PING_INTERVAL", 0.1)
    monkeypatch.setattr(subscriber, "CONFIRM_TIMEOUT", 6.0)
    return Stage(own_server, settings)


both = pytest.mark.parametrize("own_server", ["redis", "valkey"], indirect=True)
once = pytest.mark.parametrize("own_server", ["redis"], indirect=True)


def test_each_role_has_its_line() -> None:
    assert documented_rights().keys() == SCENARIOS.keys()


@both
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", SCENARIOS)
def test_the_documented_rights_of_a_role_suffice(stage: Stage, role: str) -> None:
    stage.play(role, documented_rights()[role])


@once
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", SCENARIOS)
def test_each_documented_right_of_a_role_is_needed(stage: Stage, role: str) -> None:
    rights = documented_rights()[role]
    needless = []
    for right in rights:
        if right[0] not in "+~%&":
            continue
        try:
            stage.play(role, [one for one in rights if one != right])
        except Denied:
            continue
        needless.append(right)

    assert needless == []


FORBIDDEN: dict[str, list[tuple[str, ...]]] = {
    "producer": [
        ("LPOP", "jq:queue"),
        ("BLMOVE", "jq:queue", "jq:processing:x", "LEFT", "RIGHT", "1"),
        ("DEL", "jq:queue"),
        ("HSET", "jq:workers", "x", "1"),
        ("ZADD", "jq:completed", "1", "x"),
        ("SUBSCRIBE", "jq:reaper:lock:released"),
    ],
    "worker": [("SET", "jq:reaper:lock", "x"), ("SCAN", "0"), ("DEL", "jq:queue"), ("UNLINK", "jq:queue")],
    "reaper": [("LPOP", "jq:queue"), ("BLMOVE", "jq:queue", "jq:processing:x", "LEFT", "RIGHT", "1")],
    "admin": [
        ("LPOP", "jq:queue"),
        ("DEL", "jq:queue"),
        ("SET", "jq:reaper:lock", "x"),
        ("HSET", "jq:workers", "x", "1"),
    ],
    "monitor": [
        ("EVALSHA", "x" * 40, "0"),
        ("EVAL", "return 1", "0"),
        ("RPUSH", "jq:queue", "x"),
        ("HGETALL", "jq:results"),
    ],
}


@both
@pytest.mark.parametrize("role", SCENARIOS)
def test_a_role_cannot_do_what_is_not_its_own(own_server: Server, role: str) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", role, "reset", *documented_rights()[role])
    nobodys = [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("GET", "other"), ("ACL", "LIST")]

    allowed = []
    with own_server.client(username=role, password="s3cret") as client:
        for command in [*nobodys, *FORBIDDEN[role]]:
            try:
                client.execute_command(*command)
            except redis.exceptions.NoPermissionError:
                continue
            allowed.append(command)

    assert allowed == []


@both
def test_confirming_replicas_takes_one_right_more(stage: Stage) -> None:
    rights = documented_rights()["producer"]
    with stage.server.client() as client:
        client.execute_command("ACL", "SETUSER", "producer", "reset", *rights)
    queue, _ = stage.open("producer", MIN_REPLICAS=1)

    with pytest.raises(StorageError, match=r"the user lacks \+wait"):
        queue.enqueue("a")
    with stage.server.client() as client:
        client.execute_command("ACL", "SETUSER", "producer", "+wait")
    with pytest.raises(NotReplicated):
        queue.enqueue("a")
    queues.close()


#: What needs more than a producer's rights, and has no test of its own.
MORE: dict[str, Callable[[Queue], object]] = {
    "another database than 0": lambda queue: queue.enqueue("b"),
    "update_result_ttl": lambda queue: queue.update_result_ttl("done", 5),
    "jobqueue_clear": lambda queue: queue.clear(),
}


@both
@pytest.mark.parametrize("what", MORE)
def test_what_needs_more_needs_just_the_documented_rights_more(stage: Stage, what: str) -> None:
    (more,) = [codes(row[1]) for row in rows(section(PAGE, "More than one role")) if row[0].strip("`") == what]
    producers = documented_rights()["producer"]

    for granted in (more, *([one for one in more if one != left_out] for left_out in more)):
        with stage.server.client() as client:
            client.flushall()
            client.execute_command("ACL", "SETUSER", "producer", "reset", *producers, *granted)
        queue, everything = stage.open("producer", db=1 if "database" in what else 0)
        commit(everything.storage, complete(claimed(everything.storage, "done")))
        if granted is more:
            MORE[what](queue)
        else:
            with pytest.raises(StorageError, match="the server denied it"):
                MORE[what](queue)
        queues.close()
        everything.close()


@both
@pytest.mark.parametrize(
    ("taken", "words"),
    [
        ("+hset", r"enqueueing: .*the user lacks \+hset"),
        ("+evalsha", r"the user lacks \+evalsha"),
        ("+script|load", r"the user lacks \+script\|load"),
        ("~jq:queue", "the user lacks ~ with the keys"),
        ("&jq:events", "the user lacks & with the channels"),
        (">s3cret", "check user, password and ACL"),
    ],
)
def test_a_missing_right_is_told_with_the_page_that_has_it(stage: Stage, taken: str, words: str) -> None:
    rights = [one for one in documented_rights()["producer"] if one != taken]
    with stage.server.client() as client:
        client.flushall()
        client.script_flush()
        client.execute_command("ACL", "SETUSER", "producer", "reset", *rights)
    queue, _ = stage.open("producer")

    with pytest.raises(StorageError, match=words) as caught:
        queue.enqueue("a")

    assert "docs/how-to/security.md" in str(caught.value)
    queues.close()


@pytest.fixture
def limited(redis_server: Server, key_prefix: str) -> Iterator[tuple[Queue, Callable[..., None]]]:
    """A queue whose user may do all but hear channels outside of the prefix, and what changes the rights."""
    user = f"user-{key_prefix}".replace(":", "-")

    def grant(*rights: str) -> None:
        with redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", user, *rights)

    grant("on", ">s3cret", "~*", f"&{key_prefix}*", "+@all")
    url = redis_server.url(username=user, password="s3cret")
    queue = Queue(QueueConfig(cache=None, url=url, key_prefix=key_prefix))
    yield queue, grant
    queue.close()


def test_a_queue_closes_although_its_subscriptions_are_denied(limited: tuple[Queue, Callable[..., None]]) -> None:
    queue, grant = limited
    grant("-subscribe")
    subscriptions = queue.storage._subscriptions()
    subscriptions.listen("channel", lambda _: None, confirm=False)
    happens(lambda: subscriptions._channels["channel"].denied is not None, "it is denied")

    queue.close()

    assert subscriptions._thread is None


def test_a_channel_that_is_denied_does_not_silence_the_others(
    limited: tuple[Queue, Callable[..., None]], caplog: pytest.LogCaptureFixture
) -> None:
    queue, _ = limited
    queue.storage.listen_schedule(lambda: None)  # as a reaper in the same process does
    worker = Worker(queue, handler=lambda job: job.id, concurrency=1, reaper=False)
    worker.start()

    answers = [queue.enqueue_and_wait(f"job-{n}", timeout=20) for n in range(20)]

    worker.stop()
    assert answers == [f"job-{n}" for n in range(20)]
    assert "nothing is heard of job:events, the server denied it" in caplog.text
    assert "the subscriber connection was lost" not in caplog.text


def test_a_waiter_is_told_of_a_channel_that_is_denied(limited: tuple[Queue, Callable[..., None]]) -> None:
    queue, _ = limited
    for _ in range(2):
        with pytest.raises(StorageError, match="the server denied it.*the user lacks &"):
            queue.storage._subscriptions().listen("channel", lambda _: None)


def test_a_channel_that_was_denied_is_heard_when_the_right_is_granted(
    limited: tuple[Queue, Callable[..., None]], redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "PING_INTERVAL", 0.1)
    queue, grant = limited
    heard: list[bytes] = []
    subscriptions = queue.storage._subscriptions()
    subscriptions.listen("channel", heard.append, confirm=False)
    happens(lambda: subscriptions._channels["channel"].denied is not None, "it is denied")

    grant("&channel")

    with redis_server.client() as client:
        happens(lambda: client.publish("channel", b"x") >= 0 and b"x" in heard, "it is heard")
    assert set(heard) == {b"x"}


def test_a_ping_that_is_denied_is_not_taken_for_a_channel(
    limited: tuple[Queue, Callable[..., None]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    key_prefix: str,
) -> None:
    monkeypatch.setattr(subscriber, "PING_INTERVAL", 0.1)
    queue, grant = limited
    grant("-ping")
    subscriptions = queue.storage._subscriptions()
    channel = f"{key_prefix}channel"
    subscriptions.listen(channel, lambda _: None)

    # It is also given up when a ping takes long; and then again, for this.
    happens(lambda: "'ping'" in caplog.text, "the link is given up for the denied ping")

    assert "the subscriber connection was lost" in caplog.text
    assert subscriptions._channels[channel].denied is None
