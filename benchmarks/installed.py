"""Other job queues, in pinned versions, each installed away from this project and from the others."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VENVS = HERE / ".peers"
#: Node.js seeks packages in the folders above the importing file, so above all adapters.
NODE_MODULES = HERE / "node_modules"

#: What this project talks to the server with; so does every Python peer whose own requirements allow it.
CLIENT = ("hiredis==3.5.0", "redis==8.1.0")


class CannotInstall(RuntimeError):
    """A library does not run on this Python."""


@dataclass(frozen=True, slots=True, eq=False)
class PythonLibrary:
    """A library in a virtual environment of its own.

    Attributes:
        name: as its authors write it, with its version.
        requirements: pinned packages for pip.
        oldest_python: that it runs on.
    """

    name: str
    requirements: tuple[str, ...]
    oldest_python: tuple[int, int] = (3, 11)

    def install(self) -> None:
        """Make its environment, unless it is there and as wanted.

        Raises:
            CannotInstall: this Python is too old for it.
        """
        if sys.version_info < self.oldest_python:
            needed = ".".join(map(str, self.oldest_python))
            raise CannotInstall(f"{self.name} needs Python {needed}; this is {sys.version.split()[0]}")
        wanted = "\n".join(self.requirements)
        done = self._venv / "installed"
        if not done.exists() or done.read_text("utf-8") != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", self._venv], check=True)
            subprocess.run([*self._pip, "install", "--quiet", *self.requirements], check=True)
            done.write_text(wanted, "utf-8")

    def command(self, adapter: Path, *arguments: str) -> list[str]:
        """The command line of an adapter of it."""
        return [str(self._venv / "bin" / "python"), str(adapter), *arguments]

    def versions(self) -> dict[str, str]:
        """All packages of its environment."""
        listed = subprocess.run([*self._pip, "list", "--format=json"], check=True, capture_output=True, text=True)
        return {package["name"]: package["version"] for package in json.loads(listed.stdout)}

    @property
    def _venv(self) -> Path:
        return VENVS / self.name.split()[0].lower()

    @property
    def _pip(self) -> list[str | Path]:
        return [self._venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]


@dataclass(frozen=True, slots=True, eq=False)
class NodeLibrary:
    """A Node.js library of ``package.json``, which also has npm bring a Node.js.

    Attributes:
        name: as its authors write it, with its version.
    """

    name: str

    def install(self) -> None:
        """Install all Node.js libraries, unless they are there and as wanted."""
        wanted = (HERE / "package.json").read_text("utf-8")
        done = NODE_MODULES / "installed"
        if not done.exists() or done.read_text("utf-8") != wanted:
            options = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(["npm", "install", *options], cwd=HERE, check=True)
            done.write_text(wanted, "utf-8")

    def command(self, adapter: Path, *arguments: str) -> list[str]:
        """The command line of an adapter of it."""
        return [str(NODE_MODULES / ".bin" / "node"), str(adapter), *arguments]

    def versions(self) -> dict[str, str]:
        """The pinned npm packages."""
        pinned: dict[str, str] = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
        return pinned


@dataclass(frozen=True, slots=True, eq=False)
class ThisProject:
    """This project as it lies here, in the environment that runs the benchmark."""

    name: str = "django-jobqueue"

    def install(self) -> None:
        """Nothing is missing."""

    def command(self, adapter: Path, *arguments: str) -> list[str]:
        """The command line of an adapter of it."""
        return [sys.executable, str(adapter), *arguments]

    def versions(self) -> dict[str, str]:
        """The packages it depends on."""
        names = ("Django", "django-redis", "hiredis", "redis")
        return {name: importlib.metadata.version(name) for name in names}


Library = PythonLibrary | NodeLibrary | ThisProject

JOBQUEUE = ThisProject()


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A library and the file that drives it.

    Attributes:
        library: what is installed.
        adapter: the file.
    """

    library: Library
    adapter: Path

    @property
    def name(self) -> str:
        return self.library.name

    @property
    def is_ours(self) -> bool:
        return self.library is JOBQUEUE

    def command(self, *arguments: str) -> list[str]:
        """The command line of its adapter."""
        return self.library.command(self.adapter, *arguments)


RQ = PythonLibrary("RQ 3.0.0", ("rq==3.0.0", *CLIENT))
CELERY = PythonLibrary("Celery 5.7.0", ("celery[redis]==5.7.0", "kombu[redis]==5.7.0", "packaging==26.3", *CLIENT))
DRAMATIQ = PythonLibrary("Dramatiq 2.2.1", ("dramatiq==2.2.1", *CLIENT))
HUEY = PythonLibrary("Huey 3.5.4", ("huey==3.5.4", *CLIENT))
ARQ = PythonLibrary("arq 0.28.0", ("arq==0.28.0",))
STREAQ = PythonLibrary("streaq 7.2.0", ("streaq==7.2.0",))
TASKIQ = PythonLibrary("taskiq 0.13.0", ("taskiq==0.13.0", "taskiq-redis==1.2.4", *CLIENT))
DJANGO_TASKS_REDIS = PythonLibrary(
    "django-tasks-redis 0.4.0", ("django-tasks-redis==0.4.0", "django==6.1.3", *CLIENT)
)
BULLMQ = NodeLibrary("BullMQ 6.7.0")
PLATFORMATIC = NodeLibrary("@platformatic/job-queue 0.5.0")
