"""The faults. Each is done to one peer on a stage of its own, and says in a few words what came of it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .stage import Stage, within

#: Seconds a worker has to start, run its first job and become idle.
START_DEADLINE = 40.0

#: Runs of a poisonous job after which it is said to go on for ever.
ENDLESS_RUNS = 8

#: A poisonous job has ended when no further run comes within one limit; it gets so many limits in all.
POISON_LIMITS = 4

#: Jobs in the queue when the memory is full.
FULL_JOBS = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its short name, what is done, and the doing, which gets the stage and the time limit."""

    name: str
    what: str
    inflict: Callable[[Stage, float], str]


def kill(stage: Stage, limit: float) -> str:
    """SIGKILL of all processes of the worker in the middle of a job; a new one is started at once."""
    _warm_up(stage)
    stage.begin("victim", 2)
    killed = time.time()
    stage.signal_all(signal.SIGKILL)
    _expect(not stage.notes("end", "victim"), stage, "the job was done before the kill")
    stage.start_worker()

    if not within(limit, lambda: bool(stage.notes("end", "victim"))):
        again = len(stage.notes("begin", "victim")) - 1
        return f"**not run again** in {limit:g} s" if not again else f"run again {again}×, never ended"
    return f"run again after {stage.notes('begin', 'victim')[-1].seconds - killed:.0f} s"


def crash_of_the_server(stage: Stage, limit: float) -> str:
    """Kill -9 of the server (AOF, always) under an idle worker, back after 2 s; then a job is enqueued."""
    worker = _warm_up(stage)
    stage.server.kill()
    time.sleep(2)  # the outage itself
    stage.server.start()
    stage.enqueue("sleep", "after")
    began = time.time()

    if within(limit, lambda: bool(stage.notes("end", "after"))):
        return f"goes on; job done after {max(0, stage.notes('end', 'after')[-1].seconds - began):.0f} s"
    return _what_the_worker_does(worker, limit)


def lost_reply(stage: Stage, limit: float) -> str:
    """The reply which hands the job over is lost and the connection cut; the worker lives."""
    worker = _warm_up(stage, through_relay=True)
    stage.relay.lose_reply("victim")
    stage.enqueue("sleep", "victim")
    enqueued = time.time()
    _expect(stage.relay.struck.wait(START_DEADLINE), stage, "no reply was lost")

    if within(limit, lambda: bool(stage.notes("end", "victim"))):
        return f"run after {max(0, stage.notes('end', 'victim')[-1].seconds - enqueued):.0f} s"
    _expect(worker.poll() is None, stage, "the worker has ended")
    return f"**not run** in {limit:g} s"


def death_at_handover(stage: Stage, limit: float) -> str:
    """The worker gets SIGKILL before it knows of the job handed to it; a new one is started at once."""
    _warm_up(stage, through_relay=True)
    stage.relay.lose_reply("victim", cut=False)
    stage.enqueue("sleep", "victim")
    _expect(stage.relay.struck.wait(START_DEADLINE), stage, "no reply was lost")
    killed = time.time()
    stage.signal_all(signal.SIGKILL)
    _expect(not stage.notes("begin", "victim"), stage, "the worker knew of the job")
    stage.start_worker()

    if within(limit, lambda: bool(stage.notes("end", "victim"))):
        return f"run after {stage.notes('end', 'victim')[-1].seconds - killed:.0f} s"
    return f"**not run** in {limit:g} s"


def poison(stage: Stage, limit: float) -> str:
    """A job that ends its process; a supervisor starts the worker again whenever it has ended."""
    worker = _warm_up(stage)
    stage.enqueue("poison", "poison")
    deadline = time.monotonic() + POISON_LIMITS * limit
    while time.monotonic() < deadline:
        runs = stage.notes("begin", "poison")
        if len(runs) >= ENDLESS_RUNS:
            return f"**for ever**: {len(runs)} runs in {runs[-1].seconds - runs[0].seconds:.0f} s"
        if runs and time.time() - runs[-1].seconds > limit:
            return f"{len(runs)} run{'s' * (len(runs) > 1)}, then none in {limit:g} s"
        if worker.poll() is not None:
            worker = stage.start_worker()
        time.sleep(0.2)
    return f"{len(stage.notes('begin', 'poison'))} runs in {POISON_LIMITS * limit:g} s, not at its end"


def zombie(stage: Stage, limit: float) -> str:
    """SIGSTOP in the middle of a job; a second worker starts; SIGCONT when that has done it or at the limit."""
    _warm_up(stage)
    stage.begin("victim", 2)
    frozen = stage.signal_all(signal.SIGSTOP)
    _expect(not stage.notes("end", "victim"), stage, "the job was done before the freeze")
    stage.start_worker()
    taken_over = within(limit, lambda: bool(stage.notes("end", "victim")))
    if taken_over:
        within(5, lambda: stage.result("victim") is not None)
    kept = stage.result("victim") if taken_over else None
    stage.signal(frozen, signal.SIGCONT)
    ended = 2 if taken_over else 1
    within(START_DEADLINE, lambda: len(stage.notes("end", "victim")) >= ended)
    time.sleep(5)  # what comes late comes now

    ends = len(stage.notes("end", "victim"))
    if not taken_over:
        return f"not taken over in {limit:g} s; ended {ends}×"
    return f"ended {ends}×, {_late_completion(kept, stage.result('victim'), ends)}"


def full_memory(stage: Stage, limit: float) -> str:
    """Maxmemory is reached (noeviction) while a worker has jobs to do; a worker that ends is replaced afterwards."""
    worker = _warm_up(stage)
    stage.begin("long", 4)
    with stage.server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        stage.enqueue("sleep", *(f"job-{number}" for number in range(FULL_JOBS)))
        client.config_set("maxmemory", "100kb")
    _expect(not stage.notes("end", "long"), stage, "the worker was done before the memory was full")

    def done() -> int:
        return len({note.job_id for note in stage.notes("end") if note.job_id.startswith("job-")})

    within(min(limit, 40), lambda: done() == FULL_JOBS)
    while_full = done()
    has_ended = worker.poll() is not None
    with stage.server.client() as client:
        client.config_set("maxmemory", "0")
    if has_ended:
        stage.start_worker()
    within(min(limit, 40), lambda: done() == FULL_JOBS)
    runs = [note.job_id for note in stage.notes("begin") if note.job_id.startswith("job-")]
    twice = len(runs) - len(set(runs))
    return (
        f"{while_full} of {FULL_JOBS} done while full, {done()} with room again"
        + (f", {twice} second runs" if twice else "")
        + ("; the worker **ended**" if has_ended else "")
    )


def script_flush(stage: Stage, limit: float) -> str:
    """SCRIPT FLUSH under an idle worker."""
    worker = _warm_up(stage)
    with stage.server.client() as client:
        client.script_flush()
    stage.enqueue("sleep", "after")

    if within(limit, lambda: bool(stage.notes("end", "after"))):
        return "goes on"
    return _what_the_worker_does(worker, limit)


def _warm_up(stage: Stage, *, through_relay: bool = False) -> subprocess.Popen[bytes]:
    """Start a worker, see it do a job, and let it become idle."""
    worker = stage.start_worker(through_relay=through_relay)
    stage.enqueue("sleep", "first")
    _expect(within(START_DEADLINE, lambda: bool(stage.notes("end", "first"))), stage, "the worker did not start")
    time.sleep(1)  # it stores the result and blocks; none of the peers says when
    return worker


def _late_completion(before: Any, after: Any, ends: int) -> str:
    if before is None:
        return "no result was kept"
    if ends < 2:
        return "the zombie stopped its run"
    return "late result refused" if after == before else "**late result replaced the first**"


def _what_the_worker_does(worker: subprocess.Popen[bytes], limit: float) -> str:
    if worker.poll() is not None:
        return f"worker **ends** with status {worker.returncode}"
    return f"**hangs**: nothing done in {limit:g} s"


def _expect(condition: bool, stage: Stage, failure: str) -> None:
    if not condition:
        raise RuntimeError(f"{stage.peer.name}: {failure}\n{stage.logs()}")


FAULTS = (
    Fault("worker killed", kill.__doc__ or "", kill),
    Fault("server killed", crash_of_the_server.__doc__ or "", crash_of_the_server),
    Fault("reply lost", lost_reply.__doc__ or "", lost_reply),
    Fault("killed at hand-over", death_at_handover.__doc__ or "", death_at_handover),
    Fault("poison", poison.__doc__ or "", poison),
    Fault("zombie", zombie.__doc__ or "", zombie),
    Fault("memory full", full_memory.__doc__ or "", full_memory),
    Fault("SCRIPT FLUSH", script_flush.__doc__ or "", script_flush),
)
