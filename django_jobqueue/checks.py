"""System checks: mistakes in ``settings.JOBQUEUE``, found by ``manage.py check``.

Ids: ``E001`` wrong type or alias, ``E002`` unknown key, ``E003`` bad value, ``E004`` intervals that
contradict each other, ``E005`` no server, ``E006`` shared keys, ``E007`` a path that cannot be
imported, ``E008`` a key prefix that does not fit a cluster, ``E009`` replicas asked of a storage without
any; ``W001`` a file on a network file system, ``W002`` a file that cannot be written. These two are
warnings, as a check may run on another machine than the site. ``I001`` a server that could not be asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.utils.module_loading import import_string

from .conf import FILE_STORAGE, REDIS_STORAGE, QueueConfig, inspect_settings
from .exceptions import StorageError, UnsupportedServer
from .storage.connections import Connector, storage_errors

#: File systems, by their names in /proc/mounts, on which processes of several machines may meet.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "gfs2", "glusterfs", "lustre", "ncpfs", "ocfs2"}
)

_MOUNTS = Path("/proc/mounts")


@register("django_jobqueue")
def check_settings(**_: Any) -> list[CheckMessage]:
    """All mistakes in ``settings.JOBQUEUE``, each with its remedy."""
    configs, problems = inspect_settings()
    messages: list[CheckMessage] = [Error(p.message, hint=p.hint, id=p.id) for p in problems]
    for config in configs.values():
        messages += _paths(config)
        if config.storage == FILE_STORAGE and config.path is not None:
            messages += _file(config.alias, Path(config.path))
    return messages


@register("django_jobqueue", deploy=True)
def check_servers(**_: Any) -> Iterator[CheckMessage]:
    """Ask each server whether it is part of a cluster, on which the key prefix needs a hash tag.

    Only with ``--deploy``: no setting says it, and the usual check runs where no server is. A server that
    cannot be asked is no mistake in the settings, so that is told as information.
    """
    configs, _problems = inspect_settings()
    for config in configs.values():
        if config.storage != REDIS_STORAGE:
            continue
        try:
            with storage_errors(f"asking the server of JOBQUEUE[{config.alias!r}] whether it is part of a cluster"):
                Connector(config).main()
        except UnsupportedServer as error:
            yield Error(str(error), id="django_jobqueue.E008")
        except StorageError as error:
            yield Info(str(error), hint="run the check where the server can be reached", id="django_jobqueue.I001")


def _file(alias: str, path: Path) -> Iterator[CheckMessage]:
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        yield Warning(
            f"JOBQUEUE[{alias!r}] keeps its jobs in {path}, on a file system of type {kind}",
            hint="FileStorage needs memory shared through the file, which only a local disk gives; set PATH to "
            "one, or use RedisStorage for several machines",
            id="django_jobqueue.W001",
        )
    for needed in (path.parent, path):
        if needed == path.parent and not needed.is_dir():
            problem = f"its folder {needed} does not exist"
        elif needed.exists() and not os.access(needed, os.W_OK):
            problem = f"{needed} is not writable by this user"
        else:
            continue
        yield Warning(
            f"JOBQUEUE[{alias!r}] keeps its jobs in {path}: {problem}",
            hint="make it, give this user the right to write there, or set PATH to another file",
            id="django_jobqueue.W002",
        )
        return


def file_system(path: Path) -> str:
    """The type of the file system of a path, as the kernel calls it; empty when that cannot be told."""
    try:
        lines = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    mounts = [(Path(_unescaped(line.split()[1])), line.split()[2]) for line in lines if len(line.split()) > 2]
    holding = [(len(point.parts), i, kind) for i, (point, kind) in enumerate(mounts) if path.is_relative_to(point)]
    # Of two on the same point the later hides the earlier.
    return max(holding)[2] if holding else ""


def _unescaped(text: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text


def _paths(config: QueueConfig) -> Iterator[CheckMessage]:
    for key, path in (
        ("STORAGE", config.storage),
        ("SERIALIZER", config.serializer),
        ("HANDLER", config.handler),
        ("AFTER_EXECUTION", config.after_execution),
    ):
        if path is None:
            continue
        try:
            found = import_string(path)
        except ImportError as error:
            problem = str(error)
        else:
            if callable(found):
                continue
            problem = f"it is a {type(found).__name__}, which cannot be called"
        yield Error(
            f"JOBQUEUE[{config.alias!r}][{key!r}] is {path!r}: {problem}",
            hint="give the dotted path of something that can be imported and called",
            id="django_jobqueue.E007",
        )
