"""The admin pages in a real browser: look, filter, open, retry, cancel, be denied."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from selenium import webdriver

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.admin.browser import Visitor, chromium
from tests.admin.pages import Pages
from tests.contract.build import claim, commit, enqueue, fail, message

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests."""
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def visitor(browser: webdriver.Chrome, live_server: Any) -> Visitor:
    """A user who is not logged in."""
    visitor = Visitor(browser, live_server.url)
    visitor.arrive()
    return visitor


@pytest.fixture
def boss_at(visitor: Visitor, client_with: Callable[..., Client]) -> Visitor:
    """A user with all rights on jobs."""
    visitor.log_in(client_with("view", "change", "delete"))
    return visitor


def test_from_the_admin_to_a_list_to_a_job(boss_at: Visitor, filled: Queue) -> None:
    boss_at.open("/admin/")
    boss_at.follow("#content-main a[href$='/django_jobqueue/job/']")
    assert "worker-1" in boss_at.text

    boss_at.follow("a.jq-failed")
    assert "LookupError: no such customer: 7" in boss_at.text

    boss_at.follow(".jq-list a.jq-id")
    assert 'File "shop/jobs.py", line 12, in bill' in boss_at.text
    assert '"dry_run": true' in boss_at.text
    assert boss_at.complaints() == []


def test_the_list_is_filtered_by_state_and_paged(boss_at: Visitor, queue: Queue) -> None:
    enqueue(queue.storage, *(message(f"job-{n:03}") for n in range(120)))
    commit(queue.storage, *(fail(one) for one in claim(queue.storage, limit=10)))
    boss_at.open(boss_at.pages.jobs("queued"))
    assert len(boss_at.elements(".jq-list tbody tr")) == 50

    boss_at.follow("a[rel=last]")
    assert [row.text for row in boss_at.elements(".jq-list a.jq-id")] == [f"job-{n:03}" for n in range(110, 120)]

    boss_at.follow("a.jq-failed")
    assert len(boss_at.elements(".jq-list tbody tr")) == 10


def test_a_job_is_found_by_its_exact_id(boss_at: Visitor, filled: Queue) -> None:
    enqueue(filled.storage, message("a/b?c=%2F&d#e <i>"))
    boss_at.open(boss_at.pages.overview)
    boss_at.element("input[name=id]").send_keys("a/b?c=%2F&d#e <i>")

    boss_at.follow(".jq-search button")

    assert boss_at.element("h1 .jq-id").text == "a/b?c=%2F&d#e <i>"


def test_a_failed_job_is_retried(boss_at: Visitor, filled: Queue) -> None:
    boss_at.open(boss_at.pages.job("failed"))

    boss_at.follow("button[value=retry]")
    assert "Retry 1 job?" in boss_at.text
    boss_at.follow("button[name=confirmed]")

    assert "Job failed was retried." in boss_at.text
    assert boss_at.element("h1 .jq-badge").text == "queued"
    state = filled.get_job_state("failed")
    assert state is not None and state.status is Status.QUEUED


def test_chosen_jobs_are_cancelled(boss_at: Visitor, queue: Queue) -> None:
    enqueue(queue.storage, *(message(f"job-{n}") for n in range(3)))
    boss_at.open(boss_at.pages.jobs("queued"))
    boss_at.element(".jq-all").click()
    boss_at.element("input[value=job-1]").click()

    boss_at.follow("button[value=cancel]")
    boss_at.follow("button[name=confirmed]")

    assert "2 jobs were cancelled." in boss_at.text
    states = queue.get_job_states(["job-0", "job-1", "job-2"])
    assert [states["job-0"], states["job-2"]] == [None, None]
    assert states["job-1"] is not None


def test_a_confirmation_can_be_declined(boss_at: Visitor, filled: Queue) -> None:
    boss_at.open(boss_at.pages.job("completed"))

    boss_at.follow("button[value=delete]")
    boss_at.follow("a.cancel-link")

    assert filled.get_status("completed") is not None


def test_who_may_only_look_sees_no_buttons(
    visitor: Visitor, client_with: Callable[..., Client], filled: Queue
) -> None:
    visitor.log_in(client_with("view"))

    visitor.open(visitor.pages.job("failed"))

    assert "no such customer" in visitor.text
    assert visitor.elements("button[name=action]") == []


def test_who_may_not_look_is_denied(visitor: Visitor, client_with: Callable[..., Client], filled: Queue) -> None:
    visitor.log_in(client_with())

    visitor.open(visitor.pages.overview)

    assert "403 Forbidden" in visitor.text


def test_who_is_not_logged_in_is_asked_to(visitor: Visitor, filled: Queue) -> None:
    visitor.open(visitor.pages.overview)

    assert "/admin/login/" in visitor.browser.current_url


@pytest.mark.usefixtures("two_sites")
def test_the_strictest_content_policy_is_kept(boss_at: Visitor, filled: Queue) -> None:
    pages = Pages("/ops")

    for path in (pages.overview, pages.jobs("failed"), pages.job("failed")):
        boss_at.open(path)

        assert boss_at.complaints() == []
        # The style sheet was loaded: a badge is round.
        assert boss_at.element(".jq-tab, .jq-badge").value_of_css_property("border-radius") != "0px"
