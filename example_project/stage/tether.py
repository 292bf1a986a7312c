"""Run a command that ends when its starter does: ``tether.py PARENT_PID COMMAND ...``.

A starter that is itself killed with SIGKILL cannot end its children; on Linux the kernel then does.
Elsewhere this only runs the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: From ``<linux/prctl.h>``: the signal that this process gets when its parent dies.
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above; then no signal comes any more.
        if os.getppid() != parent:
            sys.exit("the demo is gone; not starting")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
