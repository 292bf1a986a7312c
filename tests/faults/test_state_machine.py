"""Producers, two workers, a reaper and time, at random: both storages do what the model says.

The same steps go to ``MemoryStorage`` and ``RedisStorage``. After each, what they returned and what they show
must agree with ``queue_model`` and so with each other; at the end the auditor reads the keys, and the queue
must drain. ``JOBQUEUE_STATE_MACHINE_EXAMPLES`` asks for longer runs, with other steps each time.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from django_jobqueue.conf import QueueConfig
from django_jobqueue.listing import Part
from django_jobqueue.message import JobMessage, Status
from django_jobqueue.storage.base import Complete, Fail, NewJob, Release, Retry, Storage, SuspectKind, Verdict
from django_jobqueue.storage.memory import MemoryStorage
from django_jobqueue.storage.redis import RedisStorage
from tests.contract.build import message, state
from tests.faults.auditor import Auditor
from tests.faults.queue_model import MAX_ATTEMPTS, Entry, Model
from tests.servers import Server

pytestmark = pytest.mark.faults

EXAMPLES = os.environ.get("JOBQUEUE_STATE_MACHINE_EXAMPLES")

#: Few, so that they meet; one splits easily, and the scripts cannot read it by its ends.
IDS = ("a", 'q":☃')
WORKERS = ("w1", "w2")

ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)
whens = st.sampled_from(["now", "now", "soon", "late"])
payloads = st.none() | st.integers() | st.text(max_size=5) | st.just({"id": "x", "attempts": 9})

#: What ``soon`` and ``late`` mean in ms; a short TTL and a lease of a hasty reaper are ``soon`` too.
DELAYS = {"now": 0, "soon": 1, "late": 3_600_000}


def let_time_pass() -> None:
    """Whatever lasts a millisecond is over, and what comes next is later."""
    time.sleep(0.0025)


class QueueMachine(RuleBasedStateMachine):
    """The rules. ``taken`` are pairs of worker and entry, also of leases that are lost long since."""

    taken = Bundle("taken")

    def __init__(self, server: Server) -> None:
        super().__init__()
        config = QueueConfig(cache=None, key_prefix=f"jqtest:{uuid.uuid4().hex[:12]}:", url=server.url())
        hasty = replace(config, visibility_timeout=0.001)
        self.model = Model()
        self.storages: dict[str, Storage] = {"memory": MemoryStorage(config), "redis": RedisStorage(config)}
        self.hasty: dict[str, Storage] = {"memory": MemoryStorage(hasty), "redis": RedisStorage(hasty)}
        self.client = server.client()
        self.auditor = Auditor(self.client, config.key_prefix)
        for storage in self.storages.values():
            for worker_id in WORKERS:
                storage.renew(worker_id, b"{}", [])

    def agree(self, expected: Any, ask: Callable[[str, Storage], Any]) -> None:
        """Both storages answer what is expected."""
        answers = {name: ask(name, storage) for name, storage in self.storages.items()}
        assert answers == dict.fromkeys(answers, expected)

    # Producers

    @rule(jobs=st.lists(st.tuples(ids, payloads), min_size=1, max_size=4), when=whens)
    def enqueue(self, jobs: list[tuple[str, Any]], when: str) -> None:
        if when == "soon":
            jobs = jobs[:1]  # of two that are due at once the storages may take either first
        messages = [message(job_id, payload, max_attempts=MAX_ATTEMPTS) for job_id, payload in jobs]
        entries = [Entry(one.id, one.payload, raw=dict.fromkeys(self.storages, one)) for one in messages]
        expected = [self.model.enqueue(entry, when) for entry in entries]

        def ask(name: str, storage: Storage) -> list[str | None]:
            accepted = storage.enqueue([NewJob(one, DELAYS[when]) for one in messages])
            return [None if one.standing is None else str(one.standing.status) for one in accepted]

        self.agree(expected, ask)
        let_time_pass()

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        self.agree(self.model.cancel(job_id), lambda _, storage: storage.cancel(job_id))

    @rule(job_id=ids)
    def retry_failed(self, job_id: str) -> None:
        fresh = self.model.retry_dead(job_id)
        self.agree(fresh is not None, lambda _, storage: storage.retry_dead(job_id))

    @rule(job_id=ids)
    def delete(self, job_id: str) -> None:
        self.agree(self.model.delete(job_id), lambda _, storage: storage.delete(job_id))

    @rule(job_id=ids, short=st.booleans())
    def update_ttl(self, job_id: str, short: bool) -> None:
        expected = self.model.update_ttl(job_id, short)
        self.agree(expected, lambda _, storage: storage.update_ttl(job_id, 1 if short else 60_000))
        let_time_pass()

    # Workers

    @rule(target=taken, worker_id=workers)
    def take(self, worker_id: str) -> Any:
        entry = self.model.take(worker_id)
        for name, storage in self.storages.items():
            self._learn(name, entry, self._taken(storage, worker_id, entry))
        return multiple() if entry is None else (worker_id, entry)

    def _taken(self, storage: Storage, worker_id: str, entry: Entry | None) -> JobMessage | None:
        """What BLMOVE brings; on Redis also cancelled messages, which their taker drops."""
        while (raw := storage.wait_and_take(worker_id, 0.001 if entry is None else 5)) is not None:
            one = JobMessage.decode(raw)
            if entry is not None and (one.id, one.attempts) == (entry.job_id, entry.attempts):
                known = entry.raw.get("redis" if isinstance(storage, RedisStorage) else "memory")
                if known is None or known.raw == raw:
                    return one
            assert isinstance(storage, RedisStorage)
            assert storage.start(worker_id, one)[0] is Verdict.DROPPED
        return None

    def _learn(self, name: str, entry: Entry | None, one: JobMessage | None) -> None:
        assert (entry is None) == (one is None)
        if entry is not None and one is not None:
            assert (one.id, one.payload, one.attempts) == (entry.job_id, entry.payload, entry.attempts)
            assert entry.raw.setdefault(name, one).raw == one.raw

    @rule(target=taken, worker_id=workers)
    def claim_one(self, worker_id: str) -> Any:
        entry = self.model.take(worker_id)
        if entry is not None:
            assert self.model.start(worker_id, entry) == "started"
        for name, storage in self.storages.items():
            claim = storage.claim(worker_id, 1)
            assert claim.unread == [] and len(claim.messages) <= 1
            self._learn(name, entry, JobMessage.decode(claim.messages[0]) if claim.messages else None)
            assert claim.backlog >= len(self.model.queue)
        return multiple() if entry is None else (worker_id, entry)

    @rule(lease=taken)
    def start(self, lease: tuple[str, Entry]) -> None:
        worker_id, entry = lease
        if entry.holder == worker_id and entry.started:
            return
        expected = self.model.start(worker_id, entry)
        self.agree(expected, lambda name, storage: str(storage.start(worker_id, entry.raw[name])[0]))

    @rule(lease=taken, good=st.booleans(), short=st.booleans(), twice=st.booleans())
    def finish(self, lease: tuple[str, Entry], good: bool, short: bool, twice: bool) -> None:
        worker_id, entry = lease
        if not self._may_end(worker_id, entry):
            return
        payload, kind = (b"1", Complete) if good else (b'{"message":"x"}', Fail)
        expected = self.model.finish(worker_id, entry, Status.COMPLETED if good else Status.FAILED, payload, short)

        def ask(name: str, storage: Storage) -> list[bool]:
            outcome = kind(entry.raw[name], payload, 1 if short else 60_000)
            applied = storage.commit(worker_id, [outcome])[0]
            # The reply was lost.
            return storage.commit(worker_id, [replace(outcome, resent=True)])[0] if twice and not short else applied

        twice = twice and expected
        self.agree([expected], ask)
        let_time_pass()

    @rule(lease=taken, when=whens, twice=st.booleans())
    def retry(self, lease: tuple[str, Entry], when: str, twice: bool) -> None:
        worker_id, entry = lease
        if not self._may_end(worker_id, entry) or entry.is_last:
            return
        following = entry.following()
        expected = self.model.retry(worker_id, entry, following, when)
        twice = twice and expected

        def ask(name: str, storage: Storage) -> list[bool]:
            outcome = Retry(entry.raw[name], following.raw[name], DELAYS[when])
            applied = storage.commit(worker_id, [outcome])[0]
            return storage.commit(worker_id, [replace(outcome, resent=True)])[0] if twice else applied

        self.agree([expected], ask)
        let_time_pass()

    def _may_end(self, worker_id: str, entry: Entry) -> bool:
        """A worker ends what it has started, though the lease may be lost by then."""
        return entry.holder != worker_id or entry.started

    @rule(lease=taken)
    def release(self, lease: tuple[str, Entry]) -> None:
        worker_id, entry = lease
        expected = self.model.release(worker_id, entry)
        self.agree([expected], lambda name, storage: storage.commit(worker_id, [Release(entry.raw[name])])[0])

    @rule(lease=taken)
    def renew(self, lease: tuple[str, Entry]) -> None:
        worker_id, entry = lease
        if self._may_end(worker_id, entry):
            lost = entry.holder != worker_id
            self.agree(
                lost, lambda name, storage: entry.raw[name].raw in storage.renew(worker_id, b"{}", [entry.raw[name]])
            )

    # The reaper, and time

    @rule(worker_id=workers)
    def reap(self, worker_id: str) -> None:
        """The worker has died, as far as the reaper can tell; it may come back as a zombie."""
        let_time_pass()
        dead = [entry for entry in self.model.held if entry.holder == worker_id]
        found = {name: hasty.suspects([worker_id]) for name, hasty in self.hasty.items()}
        for entry in dead:
            kind = SuspectKind.OUTDATED if entry.cancelled else (
                SuspectKind.STALLED if entry.started else SuspectKind.UNSTARTED
            )  # fmt: skip
            following = self.model.settle(entry)
            for name, hasty in self.hasty.items():
                (suspect,) = [one for one in found[name] if one.raw == entry.raw[name].raw]
                assert suspect.kind is kind, (name, suspect, kind)
                assert self._settle(hasty, suspect, entry.raw[name], following and following.raw[name])
        assert {name: len(suspects) for name, suspects in found.items()} == dict.fromkeys(found, len(dead))

    def _settle(self, hasty: Storage, suspect: Any, held: JobMessage, following: JobMessage | None) -> bool:
        match suspect.kind:
            case SuspectKind.OUTDATED:
                return hasty.discard(suspect, held)
            case SuspectKind.STALLED if following is None:
                outcome = Fail(held, b'"stalled"', 60_000, expected=suspect.state)
                return hasty.fail_stalled(suspect, outcome)
            case _:
                assert following is not None
                return hasty.recover(suspect, held, following)

    @rule()
    def promote(self) -> None:
        let_time_pass()
        self.agree(self.model.promote(), lambda _, storage: storage.promote(100)[0])

    @rule()
    def expire(self) -> None:
        let_time_pass()
        endings = [job.status for job in self.model.jobs.values()]

        def ask(_: str, storage: Storage) -> tuple[int, int]:
            while storage.expire(100):
                pass
            storage.sweep()
            return storage.counts().completed, storage.counts().failed

        self.agree((endings.count(Status.COMPLETED), endings.count(Status.FAILED)), ask)

    # What must hold after each step

    @invariant()
    def states_and_outcomes_are_those_of_the_model(self) -> None:
        self.agree(
            [self.model.text(job_id) for job_id in IDS],
            lambda _, storage: [state(storage, job_id) for job_id in IDS],
        )
        payloads = [self.model.jobs[job_id].payload if job_id in self.model.jobs else None for job_id in IDS]
        self.agree(payloads, lambda _, storage: [one and one.payload for one in storage.lookup(IDS)])

    @invariant()
    def jobs_are_listed_where_they_are(self) -> None:
        model = self.model
        waiting, aside = [one.job_id for one in model.queue], [one.job_id for one in model.soon + model.late]
        self.agree(sorted(aside), lambda _, storage: sorted(_ids(storage, Part.SCHEDULED)))
        held = sorted((one.holder, one.job_id) for one in model.held)
        self.agree(
            held, lambda _, storage: sorted((one.worker_id, one.id) for one in _page(storage, Part.PROCESSING))
        )
        assert _ids(self.storages["memory"], Part.QUEUED) == waiting
        # Cancelled messages lie in the list of Redis until a worker meets them.
        listed = iter(_ids(self.storages["redis"], Part.QUEUED))
        assert all(job_id in listed for job_id in waiting)
        assert len(_ids(self.storages["redis"], Part.QUEUED)) >= len(waiting)

    @invariant()
    def the_auditor_finds_nothing(self) -> None:
        self.auditor.check(self.model.jobs, max_attempts=MAX_ATTEMPTS)

    def teardown(self) -> None:
        try:
            self._drain()
        finally:
            self.storages["memory"].clear()
            self.storages["redis"].clear()
            for storage in (*self.storages.values(), *self.hasty.values()):
                storage.close()
            self.client.close()

    def _drain(self) -> None:
        """Whatever happened, the queue can be worked off."""
        for worker_id in WORKERS:
            self.reap(worker_id)
        self.promote()
        for entry in list(self.model.late):
            self.cancel(entry.job_id)
        while self.model.queue:
            self.finish(self.claim_one("w1"), good=True, short=False, twice=False)  # type: ignore[arg-type]
        assert self.storages["redis"].claim("w1", 1).messages == []
        for storage in self.storages.values():
            assert [storage.unregister(worker_id) for worker_id in WORKERS] == [True, True]
        self.auditor.check(self.model.jobs, drained=True, max_attempts=MAX_ATTEMPTS)


def _page(storage: Storage, part: Part) -> list[Any]:
    return storage.page(part, 0, 200).jobs


def _ids(storage: Storage, part: Part) -> list[str | None]:
    return [one.id for one in _page(storage, part)]


def test_both_storages_do_what_the_model_says(server: Server) -> None:
    # The same steps in each run, so that a failure is one of the change at hand; more of them, and others,
    # where they are asked for.
    profile = settings(
        max_examples=int(EXAMPLES or 40),
        stateful_step_count=40,
        deadline=None,
        derandomize=EXAMPLES is None,
        database=None,
        # Shrinking would repeat the steps for minutes; those that failed are printed as they are.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(lambda: QueueMachine(server), settings=profile)
