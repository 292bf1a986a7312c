"""The list of stories, and how one gets onto it.

A story arranges, sends the command within ``rig.fault()``, and says how it must end whatever was lost.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.rig import Rig

Story = Callable[[Rig], None]

#: (command, nth, story): the fault strikes at the nth such command.
TRANSITIONS: list[tuple[str, int, Story]] = []


def step(command: str, nth: int = 1) -> Callable[[Story], Story]:
    """Let a story be told with a fault at this command."""

    def add(story: Story) -> Story:
        TRANSITIONS.append((command, nth, story))
        return story

    return add
