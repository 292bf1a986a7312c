"""Retry, cancel and delete: who may, what is asked, what happens."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.admin.pages import Pages, text_of
from tests.contract.build import claim, commit, enqueue, fail, message
from tests.servers import free_port

ACTIONS = ["retry", "cancel", "delete"]

#: For each action a job to which it can happen.
TARGET = {"retry": "failed", "cancel": "queued", "delete": "completed"}


def all_pages(pages: Pages) -> list[str]:
    """The addresses that are looked at."""
    return [pages.overview, pages.jobs("failed"), pages.job("failed")]


def is_untouched(queue: Queue) -> bool:
    """Whether the jobs of ``filled`` are as they were."""
    states = queue.get_job_states(["failed", "queued", "completed", "scheduled"])
    return all(state is not None and state.status == job_id for job_id, state in states.items())


def test_anonymous_visitors_are_sent_to_the_login(client: Client, db: None, pages: Pages, filled: Queue) -> None:
    answers = [client.get(url) for url in all_pages(pages)]
    answers += [pages.confirm(client, action, TARGET[action]) for action in ACTIONS]

    assert [answer.status_code for answer in answers] == [302] * 6
    assert all(answer["Location"].startswith("/admin/login/") for answer in answers)
    assert is_untouched(filled)


@pytest.mark.parametrize("rights", [(), ("delete",)])
def test_staff_without_the_right_to_view_see_and_do_nothing(
    client_with: Callable[..., Client], pages: Pages, filled: Queue, rights: tuple[str, ...]
) -> None:
    client = client_with(*rights)

    answers = [client.get(url) for url in all_pages(pages)]
    answers += [pages.confirm(client, action, TARGET[action]) for action in ACTIONS]

    assert [answer.status_code for answer in answers] == [403] * 6
    assert is_untouched(filled)


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        (("view",), set()),
        (("change",), {"retry", "cancel"}),
        (("view", "delete"), {"delete"}),
        (("view", "change", "delete"), {"retry", "cancel", "delete"}),
    ],
)
def test_each_action_needs_its_right(
    client_with: Callable[..., Client], pages: Pages, filled: Queue, rights: tuple[str, ...], allowed: set[str]
) -> None:
    client = client_with(*rights)

    assert all(client.get(url).status_code == 200 for url in all_pages(pages))
    for action in ACTIONS:
        shown = f'value="{action}"'.encode() in client.get(pages.job(TARGET[action])).content
        asked = client.post(pages.act, {"queue": "default", "action": action, "id": TARGET[action]})
        done = pages.confirm(client, action, TARGET[action])

        assert shown is (action in allowed)
        assert asked.status_code == (200 if action in allowed else 403)
        assert done.status_code == (302 if action in allowed else 403)
    if not allowed:
        assert is_untouched(filled)


def test_actions_need_a_csrf_token(boss: Client, pages: Pages, filled: Queue) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies

    assert pages.confirm(strict, "retry", "failed").status_code == 403
    assert is_untouched(filled)


def test_actions_are_not_done_by_get(boss: Client, pages: Pages, filled: Queue) -> None:
    answer = boss.get(pages.act, {"queue": "default", "action": "cancel", "id": "queued", "confirmed": "yes"})

    assert answer.status_code == 405
    assert is_untouched(filled)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_confirmed_first(boss: Client, pages: Pages, filled: Queue, action: str) -> None:
    asked = boss.post(pages.act, {"queue": "default", "action": action, "id": TARGET[action]})

    assert asked.status_code == 200
    assert f"{action.capitalize()} 1 job?" in text_of(asked)
    assert is_untouched(filled)


def test_retry_queues_a_failed_job_again(boss: Client, pages: Pages, filled: Queue) -> None:
    answer = pages.confirm(boss, "retry", "failed")

    assert answer["Location"] == pages.job("failed")
    assert "Job failed was retried." in text_of(boss.get(answer["Location"]))
    state = filled.get_job_state("failed")
    assert state is not None and state.status is Status.QUEUED


@pytest.mark.parametrize("job_id", ["queued", "scheduled", "failing"])
def test_cancel_takes_a_waiting_job_out(boss: Client, pages: Pages, filled: Queue, job_id: str) -> None:
    answer = pages.confirm(boss, "cancel", job_id, part="queued")

    assert answer["Location"] == pages.jobs("queued")
    assert f"Job {job_id} was cancelled." in text_of(boss.get(answer["Location"]))
    assert filled.get_job_state(job_id) is None


@pytest.mark.parametrize("job_id", ["completed", "failed"])
def test_delete_forgets_a_finished_job(boss: Client, pages: Pages, filled: Queue, job_id: str) -> None:
    answer = pages.confirm(boss, "delete", job_id, part=job_id)

    assert f"Job {job_id} was deleted." in text_of(boss.get(answer["Location"]))
    assert filled.get_status(job_id) is None


@pytest.mark.parametrize(
    ("action", "job_id", "reason"),
    [
        ("retry", "queued", "it is not failed (any more)"),
        ("cancel", "processing", "it is running"),
        ("cancel", "completed", "it has completed"),
        ("delete", "processing", "it is running"),
        ("delete", "queued", "cancel it instead"),
        ("delete", "nobody", "does not know it"),
    ],
)
def test_what_cannot_be_done_is_explained(
    boss: Client, pages: Pages, filled: Queue, action: str, job_id: str, reason: str
) -> None:
    answer = pages.confirm(boss, action, job_id, part="queued")

    assert reason in text_of(boss.get(answer["Location"]))
    assert is_untouched(filled)


def test_many_jobs_are_acted_on_at_once(boss: Client, pages: Pages, queue: Queue) -> None:
    enqueue(queue.storage, *(message(f"job-{n}") for n in range(50)))
    commit(queue.storage, *(fail(one) for one in claim(queue.storage, limit=50)))
    ids = [f"job-{n}" for n in range(40)]

    answer = pages.confirm(boss, "retry", *ids, "nobody", part="failed", p=1)

    text = text_of(boss.get(answer["Location"]))
    assert "40 jobs were retried." in text
    assert "Job nobody was not retried" in text
    assert (queue.stats().queued, queue.stats().failed) == (40, 10)


def test_no_chosen_job_is_no_action(boss: Client, pages: Pages, filled: Queue) -> None:
    answer = boss.post(pages.act, {"queue": "default", "action": "retry", "part": "failed"}, follow=True)

    assert "No job was chosen" in text_of(answer)


@pytest.mark.parametrize(
    "data",
    [{"action": "explode", "id": "a"}, {"id": "a"}, {"action": "retry", "id": [f"job-{n}" for n in range(201)]}],
)
def test_senseless_actions_are_refused(boss: Client, pages: Pages, filled: Queue, data: dict[str, Any]) -> None:
    assert boss.post(pages.act, {"queue": "default", **data}).status_code == 400


def test_the_way_back_cannot_be_forged(boss: Client, pages: Pages, filled: Queue) -> None:
    forged = {"part": "//evil.example", "next": "//evil.example"}

    assert pages.confirm(boss, "retry", "failed", **forged).status_code == 400
    assert is_untouched(filled)


def test_actions_are_written_into_the_admins_log(boss: Client, pages: Pages, filled: Queue) -> None:
    pages.confirm(boss, "retry", "failed")
    pages.confirm(boss, "delete", "completed")

    deleted, retried = LogEntry.objects.order_by("-pk")
    assert (str(retried.object_repr), retried.get_change_message()) == ("failed (default)", "Retried.")
    assert deleted.is_deletion()
    link = boss.get(str(retried.get_admin_url()))
    assert link["Location"] == pages.job("failed")
    assert boss.get("/admin/").status_code == 200


def test_a_server_that_dies_on_the_way_is_reported(
    boss: Client, pages: Pages, configure: Callable[..., Queue]
) -> None:
    configure(URL=f"redis://127.0.0.1:{free_port()}")

    answer = pages.confirm(boss, "retry", "a", "b")

    assert answer.status_code == 302
    told = [str(message) for message in boss.get(pages.overview).context["messages"]]
    assert len(told) == 1 and told[0].startswith("It ended early: ")
