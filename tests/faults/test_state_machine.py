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
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

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
IDS = ("a", "b", 'q":☃')
WORKERS = ("w1", "w2")

ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)
whens = st.sampled_from(["now", "now", "now", "soon", "soon", "late"])
payloads = st.none() | st.integers() | st.text(max_size=5) | st.just({"id": "x", "attempts": 9})

#: What becomes of a job that is claimed; a retry by when it is due.
DEEDS = ("now", "now", "soon", "late", "complete", "fail", "fail", "release", "die")

#: What ``soon`` and ``late`` mean in ms; a short TTL and a lease of a hasty reaper are ``soon`` too.
DELAYS = {"now": 0, "soon": 1, "late": 3_600_000}


def let_time_pass() -> None:
    """Whatever lasts a millisecond is over, and what comes next is later."""
    time.sleep(0.0025)


def _has(*statuses: Status) -> Callable[[Any], bool]:
    """A precondition: some job is in one of these states."""
    return lambda machine: any(job.status in statuses for job in machine.model.jobs.values())


class QueueMachine(RuleBasedStateMachine):
    """The rules. ``taken`` are pairs of worker and entry, also of leases that are lost long since."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        config = QueueConfig(cache=None, key_prefix=f"jqtest:{uuid.uuid4().hex[:12]}:", url=server.url())
        hasty = replace(config, visibility_timeout=0.001)
        self.model = Model()
        self.taken: list[tuple[str, Entry]] = []
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

    def lease(self, data: st.DataObject, may_be_unstarted: bool = False) -> tuple[str, Entry]:
        """Mostly one that stands."""
        held = [(entry.holder, entry) for entry in self.model.held if entry.started or may_be_unstarted]
        zombies = [(worker_id, entry) for worker_id, entry in self.taken if entry.holder != worker_id]
        chosen = data.draw(st.booleans(), "a zombie's") if held and zombies else not held
        found: tuple[str, Entry] = data.draw(st.sampled_from(zombies if chosen else held), "lease")
        return found

    def known_id(self, data: st.DataObject, *statuses: Status) -> str:
        """Mostly the id of a job that is in one of these states."""
        fitting = [job_id for job_id, job in self.model.jobs.items() if job.status in statuses]
        found: str = data.draw(st.sampled_from(fitting * 3 + list(IDS)), "id")
        return found

    def can_end(self) -> bool:
        """Whether there is a lease that a worker would end."""
        return any(entry.started for entry in self.model.held) or any(
            entry.holder != worker_id for worker_id, entry in self.taken
        )

    # Producers

    @rule(jobs=st.lists(st.tuples(ids, payloads), min_size=1, max_size=4), when=whens)
    def enqueue_any(self, jobs: list[tuple[str, Any]], when: str) -> None:
        self._enqueue(jobs, when)

    @precondition(lambda self: len(self.model.jobs) < len(IDS))
    @rule(payload=payloads, when=whens)
    def enqueue_new(self, payload: Any, when: str) -> None:
        self._enqueue([(next(job_id for job_id in IDS if job_id not in self.model.jobs), payload)], when)

    def _enqueue(self, jobs: list[tuple[str, Any]], when: str) -> None:
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

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._cancel(self.known_id(data, Status.QUEUED, Status.SCHEDULED, Status.FAILING))

    def _cancel(self, job_id: str) -> None:
        self.agree(self.model.cancel(job_id), lambda _, storage: storage.cancel(job_id))

    @precondition(_has(Status.FAILED))
    @rule(data=st.data())
    def retry_failed(self, data: st.DataObject) -> None:
        job_id = self.known_id(data, Status.FAILED)
        fresh = self.model.retry_dead(job_id)
        self.agree(fresh is not None, lambda _, storage: storage.retry_dead(job_id))

    @precondition(_has(Status.FAILED, Status.COMPLETED))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self.known_id(data, Status.FAILED, Status.COMPLETED)
        self.agree(self.model.delete(job_id), lambda _, storage: storage.delete(job_id))

    @precondition(_has(Status.FAILED, Status.COMPLETED))
    @rule(data=st.data(), short=st.booleans())
    def update_ttl(self, data: st.DataObject, short: bool) -> None:
        job_id = self.known_id(data, Status.FAILED, Status.COMPLETED)
        expected = self.model.update_ttl(job_id, short)
        self.agree(expected, lambda _, storage: storage.update_ttl(job_id, 1 if short else 60_000))
        let_time_pass()

    # Workers

    @precondition(lambda self: self.model.queue)
    @rule(worker_id=workers)
    def take(self, worker_id: str) -> None:
        entry = self.model.take(worker_id)
        for name, storage in self.storages.items():
            self._learn(name, entry, self._taken(storage, worker_id, entry))
        if entry is not None:
            self.taken.append((worker_id, entry))

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

    @precondition(lambda self: self.model.queue)
    @rule(worker_id=workers, deeds=st.lists(st.sampled_from(DEEDS), min_size=1, max_size=5), short=st.booleans())
    def work(self, worker_id: str, deeds: list[str], short: bool) -> None:
        """What a worker does all day."""
        for deed in deeds:
            if not self.model.queue:
                return
            self._claim_one(worker_id)
            lease = self.taken[-1]
            match deed:
                case "complete" | "fail":
                    self._finish(lease, deed == "complete", short, twice=False)
                case "release":
                    self._release(lease)
                case "die":
                    self.reap(worker_id)
                case when:
                    self._retry(lease, when, twice=True)

    @rule(worker_id=workers)
    def claim_one(self, worker_id: str) -> None:
        self._claim_one(worker_id)

    def _claim_one(self, worker_id: str) -> None:
        entry = self.model.take(worker_id)
        if entry is not None:
            assert self.model.start(worker_id, entry) == "started"
        for name, storage in self.storages.items():
            claim = storage.claim(worker_id, 1)
            assert claim.unread == [] and len(claim.messages) <= 1
            self._learn(name, entry, JobMessage.decode(claim.messages[0]) if claim.messages else None)
            assert claim.backlog >= len(self.model.queue)
        if entry is not None:
            self.taken.append((worker_id, entry))

    @precondition(lambda self: any(not entry.started for entry in self.model.held))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        worker_id, entry = self.lease(data, may_be_unstarted=True)
        if entry.holder == worker_id and entry.started:
            return
        expected = self.model.start(worker_id, entry)
        self.agree(expected, lambda name, storage: str(storage.start(worker_id, entry.raw[name])[0]))

    @precondition(can_end)
    @rule(data=st.data(), good=st.booleans(), short=st.booleans(), twice=st.booleans())
    def finish(self, data: st.DataObject, good: bool, short: bool, twice: bool) -> None:
        self._finish(self.lease(data), good, short, twice)

    def _finish(self, lease: tuple[str, Entry], good: bool, short: bool, twice: bool) -> None:
        worker_id, entry = lease
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

    @precondition(can_end)
    @rule(data=st.data(), when=whens, twice=st.booleans())
    def retry(self, data: st.DataObject, when: str, twice: bool) -> None:
        self._retry(self.lease(data), when, twice)

    def _retry(self, lease: tuple[str, Entry], when: str, twice: bool) -> None:
        worker_id, entry = lease
        if entry.is_last:
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

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self._release(self.lease(data, may_be_unstarted=True))

    def _release(self, lease: tuple[str, Entry]) -> None:
        worker_id, entry = lease
        expected = self.model.release(worker_id, entry)
        self.agree([expected], lambda name, storage: storage.commit(worker_id, [Release(entry.raw[name])])[0])

    @precondition(can_end)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        worker_id, entry = self.lease(data)
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

    @precondition(lambda self: self.model.soon)
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
            self._cancel(entry.job_id)
        while self.model.queue:
            self._claim_one("w1")
            self._finish(self.taken[-1], good=True, short=False, twice=False)
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
        max_examples=int(EXAMPLES or 150),
        stateful_step_count=40,
        deadline=None,
        derandomize=EXAMPLES is None,
        database=None,
        # Shrinking would repeat the steps for minutes; those that failed are printed as they are.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(lambda: QueueMachine(server), settings=profile)
