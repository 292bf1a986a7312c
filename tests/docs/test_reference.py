"""The reference says what the code says: names, defaults, options, codes, keys, scripts."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal

from django_jobqueue import checks, conf, exceptions, message, queues, registry, results, runner, signals
from django_jobqueue.context import JobContext
from django_jobqueue.message import JobMessage, Status
from django_jobqueue.queue import EnqueueOptions, Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.storage import redis as redis_storage
from django_jobqueue.storage.keys import Keys
from django_jobqueue.worker import Worker
from tests.docs.pages import DOCS, PAGES, REPOSITORY, blocks, codes, name_of, prose, rows, section
from tests.servers import wait_until

PACKAGE = REPOSITORY / "django_jobqueue"
LUA = PACKAGE / "lua"
SCRIPTS = {path.stem: path.read_text("utf-8") for path in sorted(LUA.glob("*.lua"))}

README = REPOSITORY / "README.md"
API = DOCS / "reference" / "api.md"
COMMANDS = DOCS / "reference" / "commands.md"
SETTINGS = DOCS / "reference" / "settings.md"
WIRE = DOCS / "reference" / "wire-format.md"


def classes_of(module: Any, base: type) -> dict[str, type]:
    """The classes that a module defines."""
    return {
        name: one
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, base) and one.__module__ == module.__name__
    }


# Settings


def documented_settings() -> dict[str, str]:
    return {codes(row[0])[0]: codes(row[1])[0] for row in rows(prose(SETTINGS)) if len(row) == 4}


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings().keys() == (conf._QUEUE_READERS.keys() | conf._REAPER_READERS.keys()) - {"REAPER"}
    assert section(SETTINGS, "REAPER")


def test_documented_defaults_are_those_of_the_code() -> None:
    config = conf.QueueConfig()
    reaper = conf.ReaperConfig.following(config.visibility_timeout)
    actual = {
        name: getattr(reaper if name in conf._REAPER_READERS else config, name.lower())
        for name in documented_settings()
    }

    assert {name: ast.literal_eval(text) for name, text in documented_settings().items()} == actual


def test_documented_reserved_aliases_are_those_of_the_code() -> None:
    (sentence,) = re.findall(r"An alias is a plain name.*?\.\n", prose(SETTINGS), re.DOTALL)

    assert set(codes(sentence)) - {":"} == conf.RESERVED_ALIASES


def test_every_check_is_documented_and_no_other() -> None:
    # E00{number} in conf.py takes its last digit from the calls of report().
    sources = [inspect.getsource(module) for module in (conf, checks)]
    ids = {found for source in sources for found in re.findall(r"\b[EWI]00\d\b", source)}

    assert {codes(row[0])[0] for row in rows(section(SETTINGS, "Checks"))} == {
        f"django_jobqueue.{one}" for one in ids
    }


# Keys, channels, states, messages


def test_every_key_is_documented_and_no_other() -> None:
    keys = Keys("jq:")
    documented = {codes(row[0])[0] for name in ("Keys of both", "Keys of ours") for row in rows(section(WIRE, name))}

    assert documented == {*keys.fixed(), keys.processing("{workerId}"), keys.ahead("{workerId}")}


def test_every_channel_is_documented_and_no_other() -> None:
    keys = Keys("jq:")
    channels = {codes(row[0])[0]: set(codes(row[1])) for row in rows(section(WIRE, "Channels"))}

    assert channels.keys() == {keys.notify("{id}"), keys.events, keys.lock_channel, keys.schedule_channel}


def test_documented_messages_on_the_channels_are_those_of_the_scripts() -> None:
    keys, source = Keys("jq:"), "\n".join(SCRIPTS.values())
    channels = {codes(row[0])[0]: set(codes(row[1])) for row in rows(section(WIRE, "Channels"))}
    told = re.findall(r'"PUBLISH", notify\w*(?: \.\. id)?, "(\w+)"', source)
    events = re.findall(r'"PUBLISH", events, \w+ \.\. ":(\w+)"', source)

    schedule = re.findall(r'"PUBLISH", ARGV\[\d\], (?:due|text_of)', source)

    assert len(told) + len(events) + len(schedule) + 1 == source.count('"PUBLISH"'), (
        "this test does not see every PUBLISH"
    )
    assert channels[keys.notify("{id}")] == set(told)
    assert channels[keys.events] - {"{id}:{event}", ":"} == set(events)


def test_every_state_is_documented() -> None:
    documented = {codes(row[0])[0].partition(":")[0] for row in rows(section(WIRE, "States"))}

    assert documented == set(Status) - {Status.MALFORMED}


def test_the_documented_message_is_one_that_we_write() -> None:
    (example,) = [block.code.strip() for block in blocks(WIRE) if '"createdAt"' in block.code]
    read = JobMessage.decode(example.encode())
    written = JobMessage.encode(
        read.id,
        read.payload,
        json.dumps(read.payload, separators=(",", ":")).encode(),
        created_at=read.created_at,
        max_attempts=read.max_attempts,
        result_ttl_ms=read.result_ttl_ms or 0,
    )

    assert written.raw.decode() == example


def test_the_documented_error_is_one_that_we_write() -> None:
    (example,) = [block.code for block in blocks(WIRE) if '"stack"' in block.code]
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        written = runner.describe(error)

    read = json.loads(example)
    assert list(read) == list(written)
    assert {**read, "stack": ""} == {**written, "stack": ""}


def test_documented_limits_are_those_of_the_code() -> None:
    page = prose(WIRE)

    assert f"{runner.MAX_ERROR_MESSAGE:,} and {runner.MAX_ERROR_STACK:,} characters" in page
    assert f"the newest {redis_storage.QUARANTINE_LIMIT:,}" in page
    assert f"up to {message.MAX_ID_LENGTH} characters" in prose(API)


# Scripts


def test_every_script_is_documented_and_no_other() -> None:
    assert {codes(row[0])[0] for row in rows(section(WIRE, "Scripts"))} == SCRIPTS.keys()


def test_every_file_for_inclusion_is_used() -> None:
    included = {
        name for source in SCRIPTS.values() for name in re.findall(r"^--!include (\w+)$", source, re.MULTILINE)
    }

    assert included == {path.stem for path in (LUA / "include").glob("*.lua")}


def test_the_scripts_that_a_full_server_refuses_are_those_documented() -> None:
    (sentence,) = re.findall(r"All but (.*?) run on a server that is at `maxmemory`", section(WIRE, "Scripts"))
    refused = {
        name for name, source in SCRIPTS.items() if not re.match(r"#!lua flags=.*(allow-oom|no-writes)", source)
    }

    assert set(codes(sentence)) == refused


# Commands


def commands() -> dict[str, BaseCommand]:
    folder = PACKAGE / "management" / "commands"
    names = [path.stem for path in folder.glob("jobqueue_*.py")]
    return {name: load_command_class("django_jobqueue", name) for name in names}


def options_of(command: BaseCommand) -> set[str]:
    """What a command takes beyond what every command of Django takes."""

    def names(one: BaseCommand) -> set[str]:
        actions = one.create_parser("manage.py", "x")._actions
        return {name for action in actions for name in action.option_strings or ["alias"]}

    return names(command) - (names(BaseCommand()) - {"alias"})


def test_every_command_is_documented_and_no_other() -> None:
    headings = re.findall(r"^## (.+)$", prose(COMMANDS), re.MULTILINE)

    assert set(headings) == commands().keys()


@pytest.mark.parametrize("name", commands())
def test_the_options_of_a_command_are_documented_and_no_other(name: str) -> None:
    head = {row[0]: row for row in rows(section(COMMANDS, name)) if row[0] and not row[0].isdigit()}
    documented = {option.split()[0] for cell in head for option in codes(cell)}

    assert documented == options_of(commands()[name])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_in_the_pages_are_accepted(page: Path) -> None:
    known = commands()
    lines = [line for block in blocks(page) for line in block.code.splitlines() if "manage.py jobqueue_" in line]
    lines += [code for code in codes(prose(page)) if code.startswith(("manage.py jobqueue_", "jobqueue_"))]

    for line in lines:
        # Brackets and dots are usage texts, and the options' own test looks at those; names alone are no calls.
        found = re.search(r"\b(jobqueue_\w+)\b([^\"\]#`]*)", line)
        assert found is not None and found[1] in known, f"{name_of(page)}: {line}"
        words = found[2].split()
        if "[" not in line or '"' in line:
            known[found[1]].create_parser("manage.py", found[1]).parse_args(words)


# Python


def names_in(text: str) -> set[str]:
    """Every identifier between backticks, attributes and calls included."""
    return {name for code in codes(text) for name in re.findall(r"[A-Za-z_]\w*", code)}


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("queues and Queue", public(Queue)),
        ("Worker", public(Worker)),
        ("Reaper", public(Reaper)),
        ("EnqueueResult", {field.name for field in fields(results.EnqueueResult)}),
        ("JobStatus", {field.name for field in fields(results.JobStatus)}),
        ("JobState", {field.name for field in fields(message.JobState)}),
        ("QueueStats", {field.name for field in fields(results.QueueStats)}),
        ("WorkerInfo", {field.name for field in fields(results.WorkerInfo)}),
        ("Execution", {field.name for field in fields(runner.Execution)}),
        ("JobContext", public(JobContext) - {"of"}),
        ("job", registry.JobOptions.__optional_keys__),
        ("job", registry.UsingOptions.__optional_keys__),
        ("job", {"enqueue", "enqueue_and_wait", "aenqueue", "aenqueue_and_wait", "using", "payload", "queue"}),
        ("Looking", set(Status) - {"scheduled"} | {"stalled", "cancelled"}),
    ],
)
def test_everything_public_is_documented(heading: str, names: set[str]) -> None:
    text = section(API, heading.replace("queues and Queue", "queues` and `Queue"))

    assert names - names_in(text) == set()


@pytest.mark.parametrize("cls", [Worker, Reaper])
def test_documented_constructors_are_those_of_the_code(cls: type) -> None:
    text = section(API, cls.__name__)
    (call,) = re.findall(rf"^`{cls.__name__}\((.*)\)`$", text, re.MULTILINE)
    arguments = ast.parse(f"def f({call}): ...").body[0].args  # type: ignore[attr-defined]
    documented = {one.arg: inspect.Parameter.empty for one in arguments.args}
    documented |= {
        one.arg: ast.literal_eval(default)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    actual = {name: one.default for name, one in inspect.signature(cls).parameters.items()}
    actual.pop("outage", None)  # for the worker that embeds a reaper

    assert documented == actual


@pytest.mark.parametrize(
    "method", [Queue.enqueue, Queue.enqueue_many, Queue.enqueue_and_wait, Queue.wait, Queue.get_result]
)
def test_documented_calls_of_a_queue_are_those_of_the_code(method: Callable[..., Any]) -> None:
    page = section(API, "queues` and `Queue")
    (call,) = re.findall(rf"^- `{method.__name__}\((.*?)\)`", page, re.MULTILINE)
    documented = set(re.findall(r"\b([a-z_]+)\b(?=[,=)]|$)", re.sub(r"=[^,]*", "=", call)))
    parameters = inspect.signature(method).parameters
    named = set(parameters) - {"self"}
    if method is Queue.enqueue:
        named = named - {"options"} | EnqueueOptions.__optional_keys__

    assert documented == named


def documented_exceptions() -> dict[str, list[str]]:
    return {codes(row[0])[0]: row for row in rows(section(API, "Exceptions"))}


def test_every_exception_is_documented_with_its_code_and_no_other() -> None:
    actual = {
        name: cls.code  # type: ignore[attr-defined]
        for name, cls in classes_of(exceptions, exceptions.JobQueueError).items()
    }

    assert {name: codes(row[1])[0] for name, row in documented_exceptions().items()} == actual


def test_documented_bases_of_exceptions_are_bases() -> None:
    for name, row in documented_exceptions().items():
        for base in codes(row[2]):
            known = getattr(exceptions, base, None) or getattr(builtins, base)
            assert issubclass(getattr(exceptions, name), known), f"{name} is no {base}"


REFUSED = rows(section(API, "What is refused"))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: codes(row[0])[0])
def test_bad_input_is_refused_as_the_table_says(row: list[str], jobqueue_settings: dict[str, Any]) -> None:
    call, kind, code = (codes(cell)[0] for cell in row)
    names = {"queue": queues["default"], "queues": queues, "Worker": Worker}

    with pytest.raises(exceptions.JobQueueError) as caught:
        eval(call, names)

    assert (type(caught.value).__name__, caught.value.code) == (kind, code)
    queues.close()


# Signals


def documented_signals() -> dict[str, list[str]]:
    return {codes(row[0])[0]: row for row in rows(section(API, "Signals"))}


def test_every_signal_is_documented_and_no_other() -> None:
    assert documented_signals().keys() == {name for name, one in vars(signals).items() if isinstance(one, Signal)}


@pytest.fixture
def heard() -> Iterator[dict[str, tuple[str, set[str]]]]:
    """The sender and the arguments of each signal that is sent while the test runs."""
    found: dict[str, tuple[str, set[str]]] = {}
    receivers = {}
    for name in documented_signals():

        def receive(sender: type, signal: Signal, name: str = name, **arguments: Any) -> None:
            found[name] = (sender.__name__, set(arguments))

        receivers[name] = receive
        getattr(signals, name).connect(receive)
    yield found
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def test_documented_arguments_of_signals_are_those_sent(
    heard: dict[str, tuple[str, set[str]]], jobqueue_settings: dict[str, Any], settings: Any
) -> None:
    settings.JOBQUEUE = {"default": {**jobqueue_settings, "RETRY_BACKOFF": 0, "MAX_ATTEMPTS": 2}}
    queue = queues["default"]

    def handler(job: JobContext) -> None:
        if job.payload == "fail":
            raise ValueError(job.payload)

    queue.enqueue("cancelled")
    queue.cancel("cancelled")
    # A job whose worker is gone: the next process of that id finds it.
    queue.enqueue("stalled")
    assert queue.storage.claim("gone", 1).messages
    queue.enqueue_many([("good", "do"), ("bad", "fail")])
    Worker(queue, handler=handler, concurrency=1, worker_id="gone").run_until_empty()
    # An embedded reaper may have no time to lead.
    reaper = Reaper(queue)
    reaper.start()
    wait_until(lambda: reaper.is_leader, 10, lambda: AssertionError("the reaper does not lead"))
    reaper.stop()
    queues.close()

    documented = {
        name: (codes(row[1])[0], set(codes(re.sub(r"\([^)]*\)", "", row[2]))))
        for name, row in documented_signals().items()
    }
    assert documented == heard


# The README


def test_settings_named_in_the_readme_have_those_defaults() -> None:
    named = [
        found
        for row in rows(section(README, "For users of the Node.js library"))
        for found in re.findall(r"\b([A-Z_]{4,})\b(?:: ([\d.]+))?", " ".join(codes(row[1] + row[2])))
        if found[0] not in ("JOBQUEUE", "TIMEOUT")
    ]
    config = conf.QueueConfig()

    assert named
    for name, default in named:
        assert name in conf._QUEUE_READERS or name in conf._REAPER_READERS, name
        if default:
            assert getattr(config, name.lower()) == float(default), name


def test_calls_named_in_the_readme_exist() -> None:
    table = section(README, "For users of the Node.js library")
    ours = names_in(" ".join(row[1] for row in rows(table)))

    for name in ("enqueue", "enqueue_and_wait", "cancel", "get_result", "get_status", "update_result_ttl"):
        assert name in ours and hasattr(Queue, name)
    assert {"get_job_states", "subscribe"} <= ours & public(Queue)


def test_versions_in_the_readme_are_those_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    least = {"Python": project["requires-python"].removeprefix(">=")}
    for requirement in project["dependencies"]:
        name, _, version = requirement.partition(">=")
        label = {"django": "Django", "redis[hiredis]": "redis-py"}.get(name, name)
        least[label] = version
    documented = {row[0].strip("`"): row[1].split()[0] for row in rows(section(README, "Versions"))}

    assert {name: documented.get(name) for name in least} == least


def test_what_the_readme_says_is_missing_is_missing() -> None:
    text = section(README, "Not there yet")

    assert "django.tasks" in text
    with pytest.raises(ModuleNotFoundError):
        import_module("django_jobqueue.tasks")
