"""``settings.JOBQUEUE`` read into frozen, validated ``QueueConfig`` objects."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: The alias that is used when none is named.
DEFAULT_ALIAS = "default"

#: Key prefix of the default queue; a queue under another alias gets ``jq:{alias}:``.
DEFAULT_KEY_PREFIX = "jq:"

REDIS_STORAGE = "django_jobqueue.storage.redis.RedisStorage"
FILE_STORAGE = "django_jobqueue.storage.file.FileStorage"
MEMORY_STORAGE = "django_jobqueue.storage.memory.MemoryStorage"

#: The file of a ``FileStorage`` that names none, in ``BASE_DIR`` or else the working directory.
DEFAULT_FILE = "jobqueue.sqlite3"

#: Turns a given value into the config's, or raises ``ValueError`` with the rule it breaks.
_Reader = Callable[[object], Any]

_URL_SCHEMES = ("redis", "rediss", "unix")

#: Longest default life of a leader lock, in seconds.
MAX_LOCK_TTL = 30.0

#: Aliases whose default prefix would run into keys of the default queue.
RESERVED_ALIASES = frozenset({"processing", "scheduled", "notify", "reaper"})

#: Django's own cache back ends; none has a connection that a queue can use.
_NOT_DJANGO_REDIS = "django.core.cache.backends."

#: Recovery must be done by 1.5 visibility timeouts after a crash; see ``ReaperConfig``.
RECOVERY_LIMIT = 1.5


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the settings, as ``manage.py check`` shows it."""

    alias: str
    key: str
    message: str
    hint: str
    id: str


class InvalidSettings(ImproperlyConfigured):
    """``settings.JOBQUEUE`` has mistakes; the message lists each with its remedy."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.message} ({p.hint})" for p in self.problems))


@dataclass(frozen=True, slots=True)
class ReaperConfig:
    """The ``REAPER`` part of a queue's settings. Durations in seconds.

    Left out, the durations follow the visibility timeout, so that a lock left behind by a
    crashed leader never holds up recovery beyond 1.5 visibility timeouts.

    Attributes:
        leader_election: whether only the holder of the lock reaps. Without it every reaper works;
            that is safe, only wasteful.
        lock_ttl: how long the lock outlives a crashed leader.
        renew_interval: how often the leader renews the lock.
        acquire_interval: how often a follower tries to take it.
    """

    leader_election: bool = True
    lock_ttl: float = MAX_LOCK_TTL
    renew_interval: float = MAX_LOCK_TTL / 3
    acquire_interval: float = MAX_LOCK_TTL / 6

    @classmethod
    def following(cls, visibility_timeout: float) -> ReaperConfig:
        """The defaults for a visibility timeout."""
        lock_ttl = min(MAX_LOCK_TTL, visibility_timeout)
        return cls(lock_ttl=lock_ttl, renew_interval=lock_ttl / 3, acquire_interval=lock_ttl / 6)


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """One alias of ``settings.JOBQUEUE``. Durations in seconds, sizes in bytes.

    Attributes:
        alias: the key in ``settings.JOBQUEUE``.
        storage: dotted path of the ``Storage`` class.
        cache: alias in ``settings.CACHES`` (a django-redis cache) whose connection is used.
        url: ``redis://``, ``rediss://`` or ``unix://``; used instead of ``cache`` when set.
        path: the file of a ``FileStorage``, text or ``Path``; a relative one is sought in ``BASE_DIR``, or
            in the working directory where the settings have none. Left out it is ``jobqueue.sqlite3`` there.
            Other storages ignore it.
        key_prefix: what every key begins with; with a hash tag (``{jq}:``) it runs on a cluster.
        concurrency: jobs that one worker runs at a time.
        max_attempts: runs a job may have before it fails for good.
        result_ttl: how long results, errors and the deduplication of finished jobs last.
        visibility_timeout: how long a lease lasts without renewal.
        block_timeout: how long an idle worker waits in one BLMOVE.
        retry_backoff: the first retry waits up to this long, the next up to twice as long, and so
            on; 0 retries at once at the head.
        retry_backoff_max: upper limit of that wait.
        max_payload_size: largest payload or result.
        min_replicas: replicas that must confirm an enqueue, else it raises ``NotReplicated``.
        shutdown_timeout: how long a stopping worker lets running jobs finish.
        handler: dotted path of one callable for every payload, called as ``handler(job)``.
        after_execution: dotted path of a hook that may replace result, error and TTL.
        serializer: dotted path of the JSON codec.
        reaper: the ``REAPER`` part.
    """

    alias: str = DEFAULT_ALIAS
    storage: str = REDIS_STORAGE
    cache: str | None = "default"
    url: str | None = None
    path: str | None = None
    key_prefix: str = DEFAULT_KEY_PREFIX
    concurrency: int = 10
    max_attempts: int = 3
    result_ttl: float = 3600.0
    visibility_timeout: float = 30.0
    block_timeout: float = 5.0
    retry_backoff: float = 1.0
    retry_backoff_max: float = 600.0
    max_payload_size: int = 1024 * 1024
    min_replicas: int = 0
    shutdown_timeout: float = 30.0
    handler: str | None = None
    after_execution: str | None = None
    serializer: str = "django_jobqueue.serializers.JSONSerializer"
    reaper: ReaperConfig = field(default_factory=ReaperConfig)

    @classmethod
    def from_settings(cls, alias: str, given: object) -> QueueConfig:
        """Read one alias.

        Args:
            alias: the queue's alias.
            given: its dict from ``settings.JOBQUEUE``; missing keys have defaults.

        Raises:
            InvalidSettings: with every mistake found, not just the first.
        """
        reading = _Reading(alias)
        config = reading.queue(given)
        if reading.problems:
            raise InvalidSettings(reading.problems)
        return config


def read_settings() -> dict[str, QueueConfig]:
    """All queues of ``settings.JOBQUEUE``, by alias; ``default`` is always there.

    Raises:
        InvalidSettings: something in it is wrong.
    """
    configs, problems = inspect_settings()
    if problems:
        raise InvalidSettings(problems)
    return configs


def inspect_settings() -> tuple[dict[str, QueueConfig], list[Problem]]:
    """All queues that can be read, and all mistakes."""
    given = getattr(settings, "JOBQUEUE", {})
    if not isinstance(given, Mapping):
        problem = Problem(
            DEFAULT_ALIAS,
            "JOBQUEUE",
            f"settings.JOBQUEUE is {given!r:.80}, a {type(given).__name__}",
            "make it a dict of alias → dict, like CACHES",
            "django_jobqueue.E001",
        )
        return {}, [problem]
    configs, problems = {}, []
    for alias, queue in {DEFAULT_ALIAS: {}, **given}.items():
        reading = _Reading(str(alias))
        if not isinstance(alias, str) or not alias or ":" in alias or alias in RESERVED_ALIASES:
            rule = f"use a plain name without ':', other than {', '.join(sorted(RESERVED_ALIASES))}"
            reading.report("", f"JOBQUEUE alias {alias!r} is not usable", rule, 1)
        config = reading.queue(queue)
        problems += reading.problems
        if not reading.problems:
            configs[alias] = config
    problems += _shared_prefixes(configs.values())
    return configs, problems


def _shared_prefixes(configs: Iterable[QueueConfig]) -> list[Problem]:
    """Two queues on the same keys would run each other's jobs."""
    seen: dict[tuple[str | None, str | None, str], str] = {}
    problems = []
    for config in configs:
        place = (*_server(config), config.key_prefix)
        other = seen.setdefault(place, config.alias)
        if other != config.alias:
            problems.append(
                Problem(
                    config.alias,
                    "KEY_PREFIX",
                    f"JOBQUEUE[{config.alias!r}] and JOBQUEUE[{other!r}] share server or file, and KEY_PREFIX "
                    f"{config.key_prefix!r}: each would take the other's jobs",
                    "give one of them its own KEY_PREFIX",
                    "django_jobqueue.E006",
                )
            )
    return problems


def _server(config: QueueConfig) -> tuple[str | None, str | None]:
    """Where the jobs of a queue are."""
    if config.storage == FILE_STORAGE:
        return (config.storage, config.path)
    if config.storage == MEMORY_STORAGE:
        return (config.storage, None)
    return (config.url, None if config.url else config.cache)


class _Reading:
    """Reads one alias and collects what is wrong with it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.problems: list[Problem] = []
        self._place = f"JOBQUEUE[{alias!r}]"

    def report(self, key: str, message: str, hint: str, number: int) -> None:
        self.problems.append(Problem(self.alias, key, message, hint, f"django_jobqueue.E00{number}"))

    def queue(self, given: object) -> QueueConfig:
        defaults = QueueConfig(alias=self.alias, url=_environment_url(given), key_prefix=_prefix_of(self.alias))
        values = self._known(given, _QUEUE_READERS, defaults)
        reaper_given = values.pop("reaper", {})
        config = replace(defaults, **values)
        reaper_defaults = ReaperConfig.following(config.visibility_timeout)
        reaper = replace(reaper_defaults, **self._known(reaper_given, _REAPER_READERS, reaper_defaults, "REAPER"))
        self._durations(config, reaper)
        if config.storage == REDIS_STORAGE and not config.url:
            self._cache(config.cache)
        if config.min_replicas and config.storage in (FILE_STORAGE, MEMORY_STORAGE):
            self.report(
                "MIN_REPLICAS",
                f"{self._place}['MIN_REPLICAS'] is {config.min_replicas}, but STORAGE "
                f"{config.storage} has no replicas",
                "leave MIN_REPLICAS out, or use RedisStorage",
                9,
            )
        if config.storage == FILE_STORAGE:
            config = replace(config, path=database_path(config.path))
        return replace(config, reaper=reaper)

    def _known(
        self, given: object, readers: Mapping[str, _Reader], defaults: Any, part: str | None = None
    ) -> dict[str, Any]:
        place = self._place + (f"[{part!r}]" if part else "")
        if not isinstance(given, Mapping):
            self.report(part or "", f"{place} is {given!r:.80}, not a dict", "make it a dict of settings", 1)
            return {}
        values: dict[str, Any] = {}
        for key, value in given.items():
            reader = readers.get(key)
            if reader is None:
                near = difflib.get_close_matches(str(key).upper(), readers, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(sorted(readers))}"
                self.report(str(key), f"{place} has the unknown key {key!r}", hint, 2)
                continue
            try:
                values[key.lower()] = reader(value)
            except ValueError as rule:
                default = getattr(defaults, key.lower(), {})
                self.report(
                    key,
                    f"{place}[{key!r}] is {value!r:.80}",
                    f"it must be {rule}; the default is {default!r}",
                    3,
                )
        return values

    def _durations(self, config: QueueConfig, reaper: ReaperConfig) -> None:
        if reaper.renew_interval >= reaper.lock_ttl:
            self.report(
                "REAPER",
                f"{self._place}['REAPER'] renews its lock every {reaper.renew_interval:g} s, "
                f"but the lock lasts {reaper.lock_ttl:g} s",
                "make RENEW_INTERVAL a third of LOCK_TTL",
                4,
            )
        limit = RECOVERY_LIMIT * config.visibility_timeout
        if reaper.leader_election and reaper.lock_ttl + reaper.acquire_interval > limit:
            self.report(
                "REAPER",
                f"{self._place}['REAPER']: LOCK_TTL {reaper.lock_ttl:g} s + ACQUIRE_INTERVAL "
                f"{reaper.acquire_interval:g} s is more than 1.5 × VISIBILITY_TIMEOUT "
                f"({config.visibility_timeout:g} s), so jobs of a crashed leader would come back late",
                "leave both out (they follow VISIBILITY_TIMEOUT) or make them smaller",
                4,
            )

    def _cache(self, cache: str | None) -> None:
        caches = getattr(settings, "CACHES", {})
        if cache is None:
            self.report(
                "URL",
                f"{self._place} has neither URL nor CACHE",
                "set URL to redis://host:6379/0, or CACHE to a django-redis alias of CACHES",
                5,
            )
        elif cache not in caches:
            near = difflib.get_close_matches(cache, caches, n=1, cutoff=0.5)
            self.report(
                "CACHE",
                f"{self._place}['CACHE'] names {cache!r}, which is not in CACHES",
                f"did you mean {near[0]!r}?" if near else "add the alias to CACHES, or set URL or $REDIS_URL",
                5,
            )
        elif str(backend := caches[cache].get("BACKEND")).startswith(_NOT_DJANGO_REDIS):
            self.report(
                "CACHE",
                f"{self._place}['CACHE'] names {cache!r}, whose BACKEND {backend} is not a django-redis cache",
                "use BACKEND 'django_redis.cache.RedisCache' there, or set URL or $REDIS_URL",
                5,
            )


def _environment_url(given: object) -> str | None:
    """$REDIS_URL serves a queue that names neither URL nor CACHE and has no django-redis cache."""
    if isinstance(given, Mapping) and given.get("CACHE") is not None:
        return None
    backend = str(getattr(settings, "CACHES", {}).get("default", {}).get("BACKEND", ""))
    explicit_none = isinstance(given, Mapping) and "CACHE" in given
    if backend.startswith("django_redis.") and not explicit_none:
        return None
    return os.environ.get("REDIS_URL") or None


def _prefix_of(alias: str) -> str:
    return DEFAULT_KEY_PREFIX if alias == DEFAULT_ALIAS else f"{DEFAULT_KEY_PREFIX}{alias}:"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a non-empty string")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _dotted_path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or "." not in value or value.startswith(".") or value.endswith("."):
        raise ValueError("the dotted path of an object, such as 'shop.jobs.handle'")
    return value


def _required_path(value: object) -> str:
    path = _dotted_path(value)
    if path is None:
        raise ValueError("the dotted path of a class")
    return path


def _file_path(value: object) -> str | None:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path or "\0" in path or path == ":memory:":
        raise ValueError("the path of a file, as text or as a Path; for a queue in memory use MemoryStorage")
    return path


def database_path(given: str | None) -> str:
    """The file of a ``FileStorage``, the same for every process whatever its working directory."""
    base = getattr(settings, "BASE_DIR", None) or os.getcwd()
    return os.path.realpath(os.path.join(base, given or DEFAULT_FILE))


def _url(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or urlsplit(value).scheme not in _URL_SCHEMES:
        raise ValueError("a redis://, rediss:// or unix:// URL")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number from 1 up")
    return value


def _count_or_zero(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a whole number from 0 up")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _duration(value: object) -> float:
    number = seconds(value)
    if number <= 0:
        raise ValueError("a number of seconds above 0, or a timedelta")
    return number


def _duration_or_zero(value: object) -> float:
    number = seconds(value)
    if number < 0:
        raise ValueError("a number of seconds from 0 up, or a timedelta")
    return number


def seconds(value: object) -> float:
    """A duration in seconds from a number or a ``timedelta``; ``ValueError`` for anything else."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    # The upper bound (about 30 years) keeps milliseconds exact in a Lua number.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9:
        return float(value)
    raise ValueError("a number of seconds, or a timedelta")


_QUEUE_READERS: dict[str, _Reader] = {
    "STORAGE": _required_path,
    "CACHE": _optional_text,
    "URL": _url,
    "PATH": _file_path,
    "KEY_PREFIX": _text,
    "CONCURRENCY": _count,
    "MAX_ATTEMPTS": _count,
    "RESULT_TTL": _duration,
    "VISIBILITY_TIMEOUT": _duration,
    "BLOCK_TIMEOUT": _duration,
    "RETRY_BACKOFF": _duration_or_zero,
    "RETRY_BACKOFF_MAX": _duration_or_zero,
    "MAX_PAYLOAD_SIZE": _count,
    "MIN_REPLICAS": _count_or_zero,
    "SHUTDOWN_TIMEOUT": _duration_or_zero,
    "HANDLER": _dotted_path,
    "AFTER_EXECUTION": _dotted_path,
    "SERIALIZER": _required_path,
    "REAPER": lambda value: value,  # read on its own, once the visibility timeout is known
}

_REAPER_READERS: dict[str, _Reader] = {
    "LEADER_ELECTION": _flag,
    "LOCK_TTL": _duration,
    "RENEW_INTERVAL": _duration,
    "ACQUIRE_INTERVAL": _duration,
}

assert {name.lower() for name in _QUEUE_READERS} == {f.name for f in fields(QueueConfig)} - {"alias"}
