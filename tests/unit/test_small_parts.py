"""Back-off, outages, interruption, keys, errors: parts that need no server."""

import logging
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobqueue import exceptions
from django_jobqueue.backoff import OUTAGE_DELAYS, outage_delays, retry_delay
from django_jobqueue.exceptions import JobTimeout
from django_jobqueue.interrupt import Interrupter
from django_jobqueue.outage import Outage
from django_jobqueue.storage.keys import Keys


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_back_off_stays_within_its_limits(attempts: int, base: float, longest: float) -> None:
    assert 0 <= retry_delay(attempts, base, longest) <= longest


def test_back_off_doubles_its_limit_with_each_attempt() -> None:
    def highest(low: float, high: float) -> float:
        return high

    assert [retry_delay(n, 1.5, 600, highest) for n in (1, 2, 3, 4)] == [1.5, 3, 6, 12]
    assert retry_delay(50, 1.5, 600, highest) == 600
    assert retry_delay(1, 0, 600, highest) == 0


def test_delays_of_an_outage_grow_to_the_longest() -> None:
    delays = outage_delays()

    taken = [next(delays) for _ in range(10)]

    assert (taken[0], taken[-1]) == OUTAGE_DELAYS
    assert taken == sorted(taken)


def test_an_outage_is_told_once_at_its_begin_and_once_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("worker w")

    with caplog.at_level(logging.WARNING):
        outage.works("fetcher")
        outage.failed("fetcher", OSError("refused"))
        outage.failed("heartbeat", OSError("refused"))
        outage.failed("fetcher", OSError("refused"))
        outage.works("fetcher")
        outage.works("heartbeat")
        outage.works("heartbeat")

    assert len(caplog.records) == 2
    assert "refused" in caplog.records[0].message
    assert "works again" in caplog.records[1].message


def test_a_job_that_runs_too_long_is_interrupted() -> None:
    limit = Interrupter().limit("a", 0.02)
    with pytest.raises(JobTimeout, match="'a' ran longer than its timeout of 0.02 s"), limit:
        while True:
            time.sleep(0.001)


def test_a_job_that_ends_in_time_is_not_interrupted() -> None:
    interrupter = Interrupter()
    for _ in range(300):
        with interrupter.limit("a", 0.001):
            pass
    # Some limits ran out at the very end of their body: none may be raised out of it.
    threading.Event().wait(0.02)


def test_each_thread_has_its_own_limit() -> None:
    interrupter, outcomes = Interrupter(), {}

    def run(name: str, seconds: float) -> None:
        try:
            with interrupter.limit(name, seconds):
                for _ in range(30):
                    time.sleep(0.01)
            outcomes[name] = "ended"
        except JobTimeout:
            outcomes[name] = "interrupted"

    threads = [threading.Thread(target=run, args=one) for one in (("short", 0.02), ("long", 60.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == {"short": "interrupted", "long": "ended"}


def test_keys_have_the_names_of_the_wire_format() -> None:
    keys = Keys("jq:")

    assert {key.removeprefix("jq:") for key in keys.fixed()} == {
        "jobs", "queue", "results", "errors", "workers", "worker-info", "scheduled", "scheduled:messages",
        "completed", "failed", "dead", "cancelled", "progress", "malformed", "reaper:lock",
    }  # fmt: skip
    assert keys.processing("w") == "jq:processing:w"
    assert keys.notify("a:b") == "jq:notify:a:b"
    assert keys.events == "jq:events"


def test_a_prefix_with_glob_characters_matches_only_itself() -> None:
    assert Keys("{a*b?[c]}:").processing_pattern() == "{a\\*b\\?\\[c\\]}:processing:*"


def test_every_error_has_its_own_code() -> None:
    classes = [
        one
        for one in vars(exceptions).values()
        if isinstance(one, type) and issubclass(one, exceptions.JobQueueError) and one is not exceptions.JobError
    ]

    codes = [one.code for one in classes]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.JobTimeoutError("a", 3),
        exceptions.JobFailedError("a", {"message": "boom"}),
        exceptions.JobCancelledError("a"),
        exceptions.JobNotFoundError("a"),
        exceptions.MaxRetriesError("a", 3, ValueError("x")),
    ],
)
def test_errors_about_a_job_can_be_pickled(error: exceptions.JobError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert (str(again), again.job_id) == (str(error), "a")


def test_a_timeout_of_a_wait_is_a_timeout_error() -> None:
    assert isinstance(exceptions.JobTimeoutError("a", 3), TimeoutError)
    assert exceptions.JobTimeoutError("a", 3).code == "TIMEOUT"
