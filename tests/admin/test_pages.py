"""What the admin pages show."""

import json
import re
from collections.abc import Callable
from html import unescape
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils.html import escape

from django_jobqueue.queue import Queue
from tests.admin.conftest import call
from tests.admin.pages import Pages, text_of
from tests.contract.build import claimed, commit, complete, enqueue, fail, message
from tests.servers import free_port

HOSTILE = "<script>alert('x')</script>\"'&{{ 7|add:1 }}"

#: Ids that a naive link or template would garble.
ODD_IDS = [
    "a/b/../c",
    "..",
    "50%",
    "%2F%00",
    "what?#frag&id=other;x=1",
    "a+b c",
    "_2F_3A",
    "default:job",
    '"quoted" \\ back',
    HOSTILE,
    "naïve ☃ 任務",
    "x" * 512,
]


def test_the_overview_shows_counts_workers_and_leader(boss: Client, pages: Pages, filled: Queue) -> None:
    filled.storage.acquire_lock("reaper-9", 30)

    text = text_of(boss.get(pages.overview))

    counts = "1 queued 2 scheduled 1 processing 1 completed 1 failed 1 malformed"
    assert counts in text
    assert "Leader reaper-9" in text
    assert "worker-1 alive 1 of 4 web-1:4711 0.1.0" in text


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("queued", ["queued", 'shop.jobs.mail ("ann@example.org")']),
        ("scheduled", ["scheduled", "shop.jobs.remind (1)", "in 2 min", "failing"]),
        ("processing", ["processing", "shop.jobs.report (2026)", "worker-1"]),
        ("completed", ["completed", '{"sum":3}', "9 bytes"]),
        ("failed", ["failed", "shop.jobs.bill (7, dry_run=true)", "LookupError: no such customer: 7"]),
        ("malformed", ["malformed"]),
    ],
)
def test_a_list_shows_the_jobs_of_its_part(
    boss: Client, pages: Pages, filled: Queue, part: str, expected: list[str]
) -> None:
    response = boss.get(pages.jobs(part))

    assert response.status_code == 200
    for words in expected:
        assert words in text_of(response)


@pytest.mark.parametrize(
    ("job_id", "expected"),
    [
        ("queued", ["Waiting for a worker", '"ann@example.org"', "Attempts used 0 of 3"]),
        ("scheduled", ["Due in 2 min", '"job": "shop.jobs.remind"']),
        ("processing", ["Running; last sign of life", "Worker worker-1", "Attempt 1 of 3", '"args": [ 2026 ]']),
        ("completed", ["Completed", "Result 14 bytes", '"sum": 3', "is not kept"]),
        ("failing", ["Attempt 1 failed", "Next attempt in"]),
        ("failed", ["Failed", "LookupError: no such customer: 7", 'File "shop/jobs.py", line 12, in bill']),
    ],
)
def test_a_job_page_shows_what_is_known(
    boss: Client, pages: Pages, filled: Queue, job_id: str, expected: list[str]
) -> None:
    response = boss.get(pages.job(job_id))

    assert response.status_code == 200
    for words in expected:
        assert words in text_of(response)


def test_progress_is_shown(boss: Client, pages: Pages, filled: Queue) -> None:
    filled.storage.set_progress("processing", b'{"current":30,"total":120,"message":"reading","at":1}')

    response = boss.get(pages.job("processing"))

    assert b'<progress value="30" max="120">' in response.content
    assert "30 of 120 reading" in text_of(response)


def test_a_message_deep_in_a_long_queue_is_not_searched_for(boss: Client, pages: Pages, queue: Queue) -> None:
    enqueue(queue.storage, *(message(f"job-{n}") for n in range(3000)))

    assert "too deep in the queue" in text_of(boss.get(pages.job("job-1500")))


@pytest.mark.parametrize("job_id", ODD_IDS)
def test_odd_ids_survive_the_round_trip(boss: Client, pages: Pages, queue: Queue, job_id: str) -> None:
    enqueue(queue.storage, message(job_id, {"marker": "the right one"}))
    listed = boss.get(pages.jobs("queued")).content.decode()
    (href,) = re.findall(r'href="([^"]*)" class="jq-id"', listed)

    link = unescape(href)
    response = boss.get(link)

    assert parse_qs(urlsplit(link).query)["id"] == [job_id]
    assert response.status_code == 200
    assert "the right one" in text_of(response)
    (field,) = re.findall(r'name="id" value="([^"]*)">\s*<input type="hidden" name="part"', response.content.decode())
    assert pages.confirm(boss, "cancel", unescape(field)).status_code == 302
    assert queue.get_job_state(job_id) is None


@pytest.mark.parametrize(
    "job_id",
    ["", "x" * 600, "nul\x00", "tab\t", "line\nfeed", "report:exp", "\x7f"],
)
def test_what_cannot_be_an_id_is_answered_calmly(boss: Client, pages: Pages, queue: Queue, job_id: str) -> None:
    response = boss.get(pages.job(job_id))

    assert response.status_code == 400
    assert "This cannot be a job's id" in text_of(response)
    assert "Traceback" not in response.content.decode()
    assert pages.confirm(boss, "cancel", job_id).status_code == 400


@pytest.mark.parametrize("query", ["id=%FF%FE", "id=%ED%A0%80", "id=a&id=b", "id=%F0%9F%92%A9", "id=<b>"])
def test_an_unknown_id_is_answered_calmly(boss: Client, pages: Pages, queue: Queue, query: str) -> None:
    response = boss.get(f"{pages.overview}detail/?queue=default&{query}")

    assert response.status_code == 404
    assert "There is no such job" in text_of(response)
    assert b"<b>" not in response.content


def test_an_unknown_queue_is_answered_calmly(boss: Client, pages: Pages, queue: Queue) -> None:
    for url in (pages.job("a", queue=HOSTILE), f"{pages.overview}list/", f"{pages.overview}list/?queue=%00"):
        response = boss.get(url)

        assert response.status_code == 404
        assert "There is no such queue" in text_of(response)
        assert b"<script>alert" not in response.content


def test_an_unknown_part_is_answered_calmly(boss: Client, pages: Pages, queue: Queue) -> None:
    response = boss.get(pages.jobs(HOSTILE))

    assert response.status_code == 400
    assert b"<script>alert" not in response.content


def test_hostile_data_is_escaped_everywhere(boss: Client, pages: Pages, queue: Queue) -> None:
    storage = queue.storage
    storage.renew(HOSTILE, json.dumps({"host": HOSTILE, "pid": 1, "version": HOSTILE}).encode(), [])
    storage.acquire_lock(HOSTILE, 30)
    error = json.dumps({"message": HOSTILE, "code": HOSTILE, "stack": HOSTILE, "type": HOSTILE}).encode()
    commit(storage, fail(claimed(storage, HOSTILE), error))
    commit(storage, complete(claimed(storage, HOSTILE + "2"), json.dumps(HOSTILE).encode()))
    enqueue(storage, message(HOSTILE + "3", call(HOSTILE, HOSTILE, **{HOSTILE: HOSTILE})))

    for url in (
        pages.overview,
        pages.jobs("failed"),
        pages.jobs("completed"),
        pages.jobs("queued"),
        pages.job(HOSTILE),
        pages.job(HOSTILE + "2"),
        pages.job(HOSTILE + "3"),
    ):
        response = boss.get(url)

        assert response.status_code == 200
        assert b"<script>alert" not in response.content
        assert escape(HOSTILE).encode() in response.content
    told = boss.post(
        pages.act, {"queue": "default", "action": "retry", "id": HOSTILE, "confirmed": "yes"}, follow=True
    )
    assert b"<script>alert" not in told.content and b"was retried" in told.content


def test_half_a_character_in_stored_data_does_not_break_the_pages(boss: Client, pages: Pages, queue: Queue) -> None:
    error = b'{"message":"\\ud800","code":"\\ud800","stack":"\\ud800","type":null}'
    enqueue(queue.storage, message("a", "\ud800"))
    commit(queue.storage, fail(*map(_decoded, queue.storage.claim("worker", 1).messages), error))

    assert boss.get(pages.jobs("failed")).status_code == 200
    assert boss.get(pages.job("a")).status_code == 200


def _decoded(raw: bytes) -> Any:
    from django_jobqueue.message import JobMessage

    return JobMessage.decode(raw)


def test_long_values_are_cut(boss: Client, pages: Pages, queue: Queue) -> None:
    enqueue(queue.storage, message("a", "x" * 900_000))

    assert len(boss.get(pages.jobs("queued")).content) < 50_000
    response = boss.get(pages.job("a"))
    assert len(response.content) < 150_000
    assert "Only the beginning is shown" in text_of(response)


def test_other_libraries_ids_are_listed_without_a_page(boss: Client, pages: Pages, queue: Queue) -> None:
    enqueue(queue.storage, message("a\nb"), message("report:exp"), message("good"))

    response = boss.get(pages.jobs("queued"))

    assert response.status_code == 200
    assert response.content.count(b"Choose job ") == 1


def test_the_list_is_paged(boss: Client, pages: Pages, queue: Queue) -> None:
    enqueue(queue.storage, *(message(f"job-{n:04}") for n in range(1234)))

    first, second = boss.get(pages.jobs("queued")), boss.get(pages.jobs("queued", p=2))

    assert "1–50 of 1,234 Next Last" in text_of(first)
    assert "First Previous 51–100 of 1,234 Next Last" in text_of(second)
    assert b"job-0050" in second.content and b"job-0049" not in second.content


@pytest.mark.parametrize("page", [25, 26, 10**14])
def test_a_page_behind_the_last_is_the_last(boss: Client, pages: Pages, queue: Queue, page: int) -> None:
    enqueue(queue.storage, *(message(f"job-{n:04}") for n in range(1234)))

    assert "First Previous 1,201–1,234 of 1,234" in text_of(boss.get(pages.jobs("queued", p=page)))


@pytest.mark.parametrize("page", ["", "0", "-1", "x", "٣", "1e3", "9" * 5000, "1.5", "\x00"])
def test_what_is_no_page_is_the_first(boss: Client, pages: Pages, queue: Queue, page: str) -> None:
    enqueue(queue.storage, *(message(f"job-{n}") for n in range(60)))

    assert "1–50 of 60" in text_of(boss.get(pages.jobs("queued", p=page)))


def test_a_server_that_is_down_gives_a_calm_page(boss: Client, pages: Pages, configure: Callable[..., Queue]) -> None:
    configure(URL=f"redis://127.0.0.1:{free_port()}")

    overview = boss.get(pages.overview)
    others = [boss.get(url) for url in (pages.jobs("queued"), pages.job("a"))]
    others.append(
        boss.post(pages.act, {"queue": "default", "action": "cancel", "id": "a", "confirmed": "y"}, follow=True)
    )

    assert overview.status_code == 200
    for response in [overview, *others]:
        assert response.status_code in (200, 503)
        assert "cannot be reached" in text_of(response)
        assert "Traceback" not in response.content.decode()


def test_one_dead_server_does_not_hide_the_other_queue(
    boss: Client, pages: Pages, jobqueue_settings: dict[str, Any], settings: Any, queue: Queue
) -> None:
    dead = {"URL": f"redis://127.0.0.1:{free_port()}", "CACHE": None}
    settings.JOBQUEUE = {"default": jobqueue_settings, "mails": dead}

    text = text_of(boss.get(pages.overview))

    assert "0 queued" in text
    assert "cannot be reached" in text
    assert "option>mails" in boss.get(pages.overview).content.decode()


@pytest.mark.usefixtures("two_sites")
def test_a_second_site_links_to_itself(boss: Client, filled: Queue) -> None:
    pages = Pages("/ops")

    for url in (pages.overview, pages.jobs("failed"), pages.job("failed")):
        response = boss.get(url)
        content = response.content.decode()

        assert response.status_code == 200
        assert "Operations" in content
        assert "/ops/django_jobqueue/" in content
        assert "/admin/" not in content.replace("/static/admin/", "").replace("static/admin/", "")
    assert pages.confirm(boss, "retry", "failed")["Location"].startswith("/ops/")


@pytest.mark.parametrize("path", ["overview", "list", "job", "confirm"])
def test_nothing_is_inline(boss: Client, pages: Pages, filled: Queue, path: str) -> None:
    response = {
        "overview": lambda: boss.get(pages.overview),
        "list": lambda: boss.get(pages.jobs("failed")),
        "job": lambda: boss.get(pages.job("failed")),
        "confirm": lambda: boss.post(pages.act, {"queue": "default", "action": "retry", "id": "failed"}),
    }[path]()
    content = response.content.decode()

    assert response.status_code == 200
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", content)


def test_the_admin_index_leads_to_the_queues(boss: Client, pages: Pages, queue: Queue) -> None:
    response = boss.get("/admin/")

    assert pages.overview in response.content.decode()
    assert b"django_jobqueue/job/add" not in response.content


def test_the_model_has_no_table_and_breaks_no_command(db: None, django_db_blocker: Any) -> None:
    from django.db import connection

    out = StringIO()

    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    call_command("dumpdata", "django_jobqueue", "--all", stdout=out)

    assert "No changes detected" in out.getvalue() and "[]" in out.getvalue()
    assert not [name for name in connection.introspection.table_names() if name.startswith("django_jobqueue")]
