"""A command that reaches the server after its own second sending, when its client has long gone on."""

from collections.abc import Callable
from typing import Any

import pytest

from django_jobqueue.storage.base import Release
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.proxy import Loss
from tests.faults.rig import Rig, again
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults


def _enqueue(rig: Rig) -> Callable[[], Any]:
    one = message("a")
    return lambda: enqueue(rig.storage, one)


def _schedule(rig: Rig) -> Callable[[], Any]:
    one = message("a")
    return lambda: enqueue(rig.storage, one, delay_ms=60_000)


def _outcome(make: Callable[[Any], Any]) -> Callable[[Rig], Callable[[], Any]]:
    def arrange(rig: Rig) -> Callable[[], Any]:
        outcome = make(claimed(rig.direct))
        return lambda: again(lambda: commit(rig.storage, outcome))

    return arrange


def _renew(rig: Rig) -> Callable[[], Any]:
    one = claimed(rig.direct)

    def renew_and_lose() -> None:
        rig.storage.renew("worker", b"{}", [one])
        commit(rig.direct, complete(one))

    return renew_and_lose


def _recover(rig: Rig) -> Callable[[], Any]:
    one = claimed(rig.direct)
    suspect = rig.suspect()

    def recover_and_run() -> None:
        rig.hasty.recover(suspect, one, one.with_attempts(1))
        claim(rig.direct)

    return recover_and_run


COMMANDS = {
    "enqueue": _enqueue,
    "schedule": _schedule,
    "complete": _outcome(complete),
    "fail": _outcome(fail),
    "retry": _outcome(retry),
    "release": _outcome(Release),
    "renew": _renew,
    "recover": _recover,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_late_command_changes_nothing(server: Server, command: str) -> None:
    with Rig(server, command, Loss.HALF_OPEN_REQUEST) as rig:
        act = COMMANDS[command](rig)
        held = rig.proxy.hold(command)
        # The client takes the silent link for dead and sends the command again.
        act()
        rig.outlive_this_millisecond()
        links, before = rig.proxy.open_links(), _kept(rig)

        held.release()
        # Another link, which a slow answer made its client give up, may end too.
        wait_until(
            lambda: held.delivered.is_set() and rig.proxy.open_links() < links,
            30, lambda: AssertionError("it is still on its way"),
        )  # fmt: skip

        assert _kept(rig) == before


def _kept(rig: Rig) -> tuple[Any, ...]:
    hashes, *others = rig.kept()
    # A late heartbeat shows a worker as alive, and the reaper takes it off the list again.
    return ({name: content for name, content in hashes.items() if not name.startswith("worker")}, *others)
