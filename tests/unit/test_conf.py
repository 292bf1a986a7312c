"""Settings, their mistakes and the system checks."""

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from django_jobqueue.conf import QueueConfig, read_settings
from django_jobqueue.exceptions import UnknownQueue
from django_jobqueue.queue import queues


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)


def messages(settings: Any, **default: Any) -> list[str]:
    settings.JOBQUEUE = {"default": default}
    return [f"{one.id} {one.msg} {one.hint}" for one in run_checks(tags=["django_jobqueue"])]


def test_no_setting_is_needed() -> None:
    config = read_settings()["default"]

    assert (config.cache, config.url, config.key_prefix) == ("default", None, "jq:")
    assert (config.concurrency, config.max_attempts, config.result_ttl) == (10, 3, 3600)
    assert run_checks(tags=["django_jobqueue"]) == []


def test_another_alias_has_its_own_prefix(settings: Any) -> None:
    settings.JOBQUEUE = {"emails": {}}

    assert read_settings()["emails"].key_prefix == "jq:emails:"
    assert set(read_settings()) == {"default", "emails"}


def test_durations_may_be_timedeltas(settings: Any) -> None:
    settings.JOBQUEUE = {"default": {"RESULT_TTL": timedelta(minutes=2), "BLOCK_TIMEOUT": 1}}

    config = read_settings()["default"]

    assert (config.result_ttl, config.block_timeout) == (120.0, 1.0)


def test_the_lock_follows_a_short_visibility_timeout(settings: Any) -> None:
    settings.JOBQUEUE = {"default": {"VISIBILITY_TIMEOUT": 6}}

    reaper = read_settings()["default"].reaper

    assert (reaper.lock_ttl, reaper.renew_interval, reaper.acquire_interval) == (6.0, 2.0, 1.0)
    assert run_checks(tags=["django_jobqueue"]) == []


def test_redis_url_serves_a_project_without_a_django_redis_cache(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/3")

    assert read_settings()["default"].url == "redis://127.0.0.1:1/3"


def test_a_named_cache_is_not_overruled_by_the_environment(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/3")
    settings.JOBQUEUE = {"default": {"CACHE": "default"}}

    assert read_settings()["default"].url is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("CONCURENCY", 5, ["E002", "'CONCURENCY'", "did you mean 'CONCURRENCY'?"]),
        ("concurrency", 5, ["E002", "did you mean 'CONCURRENCY'?"]),
        ("CONCURRENCY", 0, ["E003", "is 0", "from 1 up", "default is 10"]),
        ("CONCURRENCY", "10", ["E003", "is '10'"]),
        ("CONCURRENCY", True, ["E003", "is True"]),
        ("MAX_ATTEMPTS", -1, ["E003", "from 1 up"]),
        ("MIN_REPLICAS", -1, ["E003", "is -1", "from 0 up", "default is 0"]),
        ("MIN_REPLICAS", True, ["E003", "is True"]),
        ("RESULT_TTL", 0, ["E003", "above 0"]),
        ("RESULT_TTL", "1h", ["E003", "seconds", "timedelta"]),
        ("RETRY_BACKOFF", -1, ["E003", "from 0 up"]),
        ("VISIBILITY_TIMEOUT", timedelta(0), ["E003"]),
        ("URL", "http://localhost", ["E003", "redis://"]),
        ("HANDLER", "nodots", ["E003", "dotted path"]),
        ("HANDLER", "no.such.handler", ["E007", "no.such.handler"]),
        ("HANDLER", "tests.settings.SECRET_KEY", ["E007", "cannot be called"]),
        ("STORAGE", "no.such.Storage", ["E007"]),
        ("REAPER", {"LOCK_TTTL": 3}, ["E002", "did you mean 'LOCK_TTL'?"]),
        ("REAPER", [], ["E001", "not a dict"]),
        ("REAPER", {"LOCK_TTL": 5, "RENEW_INTERVAL": 5}, ["E004", "a third of LOCK_TTL"]),
        ("REAPER", {"LOCK_TTL": 600}, ["E004", "1.5"]),
        ("CACHE", "defalt", ["E005", "did you mean 'default'?"]),
        ("CACHE", None, ["E005", "set URL"]),
        ("CACHE", "memory", ["E005", "locmem", "django-redis"]),
    ],
)
def test_a_mistake_is_told_with_key_value_and_remedy(settings: Any, key: str, value: Any, words: list[str]) -> None:
    settings.CACHES = {**settings.CACHES, "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    (found,) = messages(settings, **{key: value})

    for word in words:
        assert word in found
    if "E007" not in found:
        with pytest.raises(ImproperlyConfigured):
            queues["default"]


@pytest.mark.parametrize("storage", ["file.FileStorage", "memory.MemoryStorage"])
def test_replicas_of_a_storage_without_any_are_a_mistake(settings: Any, storage: str) -> None:
    path = f"django_jobqueue.storage.{storage}"

    (found,) = messages(settings, STORAGE=path, MIN_REPLICAS=1)

    for words in ("E009", "'MIN_REPLICAS'] is 1", path, "use RedisStorage"):
        assert words in found
    with pytest.raises(ImproperlyConfigured):
        queues["default"]


def test_all_mistakes_are_told_at_once(settings: Any) -> None:
    assert len(messages(settings, CONCURRENCY=0, MAX_ATTEMPS=1, URL=5)) == 3


@pytest.mark.parametrize("given", [None, [], "default", {"default": 5}, {"a:b": {}}, {"": {}}, {"processing": {}}])
def test_a_wrong_shape_is_told(settings: Any, given: Any) -> None:
    settings.JOBQUEUE = given

    assert [one.id for one in run_checks(tags=["django_jobqueue"])] == ["django_jobqueue.E001"]


def test_two_queues_on_the_same_keys_are_told(settings: Any) -> None:
    settings.JOBQUEUE = {"default": {}, "emails": {"KEY_PREFIX": "jq:"}}

    (found,) = run_checks(tags=["django_jobqueue"])

    assert found.id == "django_jobqueue.E006"


def test_an_unknown_alias_is_told_with_the_nearest(settings: Any) -> None:
    settings.JOBQUEUE = {"emails": {}}

    with pytest.raises(UnknownQueue, match="did you mean 'emails'"):
        queues["email"]
    assert "emails" in queues
    assert sorted(queues) == ["default", "emails"]


def test_queues_are_made_once_and_anew_after_a_change_of_settings(settings: Any) -> None:
    settings.JOBQUEUE = {"default": {"CONCURRENCY": 2}}
    first = queues["default"]
    assert queues["default"] is first

    settings.JOBQUEUE = {"default": {"CONCURRENCY": 3}}

    assert queues["default"] is not first
    assert queues["default"].config.concurrency == 3


def test_the_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        QueueConfig().concurrency = 5  # type: ignore[misc]


def test_every_setting_is_documented_in_the_class() -> None:
    documented = inspect.getdoc(QueueConfig) or ""

    for name in QueueConfig.__dataclass_fields__:
        assert f"    {name}:" in documented, name


def test_the_package_ships_its_type_marker() -> None:
    import django_jobqueue

    assert (Path(django_jobqueue.__file__).parent / "py.typed").exists()
