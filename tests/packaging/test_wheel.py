"""The wheel holds what the package needs at run time, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "django_jobqueue"

#: Not sources: a build must not read them, and some are large.
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build", "dist", "node_modules"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from a copy: setuptools leaves files in the tree that would enter the next wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(ROOT, directory / "source", ignore=NOT_COPIED)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory / "dist"]
    built = subprocess.run([*command, source], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    (path,) = (directory / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return {name for name in wheel.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def metadata(wheel, names) -> Message:
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def sources(pattern: str) -> set[str]:
    """Return the files of the package that match, named as in the wheel; there must be one."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found, f"the source tree has no {pattern}"
    return found


@pytest.mark.parametrize("pattern", ["**/*.py", "**/*.lua", "py.typed", "management/commands/jobqueue_*.py"])
def test_every_source_file_is_in_the_wheel(names, pattern):
    assert sources(pattern) - names == set()


def test_the_wheel_holds_no_file_that_is_not_in_the_package(names):
    beside_metadata = {name for name in names if ".dist-info/" not in name}

    assert beside_metadata == sources("**/*")


def test_tests_and_example_stay_outside(names):
    tops = {name.split("/")[0] for name in names}

    assert not tops & {"tests", "example_project", "benchmarks", "docs"}


def test_the_metadata_names_the_dependencies_of_users(metadata, project):
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    always = {str(requirement) for requirement in required if requirement.marker is None}

    assert always == {str(Requirement(line)) for line in project["dependencies"]}
    assert {Requirement(line).name for line in always} == {"django", "redis", "django-redis"}


def test_the_metadata_names_the_extras(metadata, project):
    extras = set(metadata.get_all("Provides-Extra", []))

    assert extras == {canonicalize_name(extra) for extra in project["optional-dependencies"]}
    assert extras >= {"embedded", "test", "dev"}
