"""A queue with jobs in every state, users with each right, and the addresses of the pages."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_jobqueue.queue import Queue
from tests.admin.pages import Pages
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry

#: A stored error as a Python worker writes it.
ERROR = (
    b'{"message":"no such customer: 7","code":"ERROR","stack":"Traceback (most recent call last):\\n'
    b'  File \\"shop/jobs.py\\", line 12, in bill\\nLookupError: no such customer: 7\\n","type":"LookupError"}'
)


def call(name: str, *args: object, **kwargs: object) -> dict[str, object]:
    """The payload of a registered job."""
    return {"job": name, "args": list(args), "kwargs": kwargs}


@pytest.fixture
def queue(configure: Callable[..., Queue]) -> Iterator[Queue]:
    """The default queue, empty. Its keys go afterwards: the shared server would fill up with jobs."""
    queue = configure()
    yield queue
    queue.clear()
    queue.close()


@pytest.fixture
def filled(queue: Queue) -> Queue:
    """The default queue with one job in each state, named after it."""
    storage = queue.storage
    storage.renew("worker-1", b'{"host":"web-1","pid":4711,"version":"0.1.0","concurrency":4}', [])
    commit(storage, complete(claimed(storage, "completed", "worker-1"), b'{"sum":3}'), worker_id="worker-1")
    enqueue(storage, message("failed", call("shop.jobs.bill", 7, dry_run=True)))
    commit(storage, fail(*claim(storage, "worker-1"), error=ERROR), worker_id="worker-1")
    commit(storage, retry(claimed(storage, "failing", "worker-1"), delay_ms=60_000), worker_id="worker-1")
    enqueue(storage, message("malformed"))
    (taken,) = claim(storage, "worker-1")
    storage.quarantine("worker-1", taken.raw, b'{"message":"unreadable"}')
    queue.delete("malformed")
    enqueue(storage, message("processing", call("shop.jobs.report", 2026)))
    claim(storage, "worker-1")
    enqueue(storage, message("scheduled", call("shop.jobs.remind", 1)), delay_ms=150_000)
    enqueue(storage, message("queued", call("shop.jobs.mail", "ann@example.org")))
    return queue


@pytest.fixture
def client_with(db: None) -> Callable[..., Client]:
    """A factory of clients whose user is staff with the named rights: ``client_with("view", "change")``."""

    def make(*rights: str) -> Client:
        user = User.objects.create_user("-".join(("staff", *rights)), is_staff=True)
        codenames = [f"{right}_job" for right in rights]
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="django_jobqueue", codename__in=codenames)
        )
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def boss(client_with: Callable[..., Client]) -> Client:
    """A client with all rights on jobs."""
    return client_with("view", "change", "delete")


@pytest.fixture
def pages() -> Pages:
    """The addresses in the default admin."""
    return Pages("/admin")


@pytest.fixture
def two_sites(settings: Any) -> None:
    """Routes with a second admin, ``ops``, beside the default one."""
    settings.ROOT_URLCONF = "tests.admin.two_sites"
