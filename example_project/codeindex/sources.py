"""The files to index: the running interpreter's standard library."""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path, PurePosixPath

#: Folders below the standard library that are not part of it, or hold no sources.
LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__"})


def library_root() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib")).resolve()


def library_files() -> list[str]:
    """All its ``.py`` files as sorted paths below ``library_root()``, with ``/`` as separator.

    Tests are indexed too where the interpreter has them: they are over half of the files, and
    the deliberately broken ones among them show how a job records what it cannot read.
    """
    root = library_root()
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        paths = (Path(folder, name) for name in files if name.endswith(".py"))
        found += [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    return sorted(found)


def read_source(path: str) -> bytes:
    """The bytes of one file of the library.

    Raises:
        ValueError: the path leads out of the library. A job's arguments come from the queue's
            server, and whoever can write there must not get to read other files.
        OSError: the file cannot be read.
    """
    # Links are followed on purpose: distributions keep some of the library's files elsewhere.
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{path!r} leads out of the library; pass a path that library_files() lists")
    return (library_root() / relative).read_bytes()


def module_name(path: str) -> str:
    """``asyncio/events.py`` → ``asyncio.events``; ``asyncio/__init__.py`` → ``asyncio``."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def job_id(path: str) -> str:
    """The id of the job that indexes a file: the same at each call, so no file is queued twice."""
    return f"stdlib-{platform.python_version()}:{path}"
