"""Processes whose clock is wrong, by libfaketime."""

from __future__ import annotations

import shutil
import subprocess


class FaketimeNotFound(RuntimeError):
    """The program faketime is not installed."""


def clock_environment(offset: str) -> dict[str, str]:
    """The variables of a process whose clock is off by so much, like ``"+1h"``.

    The monotonic clock stays right, as it does on a machine whose clock was set wrong.

    Raises:
        FaketimeNotFound: the message says how to get it.
    """
    program = shutil.which("faketime")
    if program is None:
        raise FaketimeNotFound("faketime is not in PATH; run: apt-get install faketime")
    # Only the program knows where its library lies.
    command = [program, "-m", "--exclude-monotonic", "-f", offset, "printenv", "LD_PRELOAD"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
