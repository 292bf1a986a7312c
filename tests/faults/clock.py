"""Processes whose clock is wrong, by libfaketime."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

#: Where Python finds the module that mends ``time.sleep``.
_MEND = Path(__file__).with_name("faketime")


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
    _forget_the_dead()
    # Only the program knows where its library lies.
    command = [program, "-m", "--exclude-monotonic", "-f", offset, "printenv", "LD_PRELOAD"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    path = os.pathsep.join(filter(None, [str(_MEND), os.environ.get("PYTHONPATH")]))
    return {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": path}


def _forget_the_dead() -> None:
    """Remove the shared memory of processes that are gone.

    It bears the number of its process, and stays when that is killed. A later process of the same number
    then complains, and the program faketime fails.
    """
    for left in Path("/dev/shm").glob("*faketime_*"):
        number = left.name.rpartition("_")[2]
        if number.isdigit() and not Path("/proc", number).exists():
            left.unlink(missing_ok=True)
