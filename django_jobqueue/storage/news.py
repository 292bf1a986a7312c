"""What a reaper hears of the schedule between its looks."""

from __future__ import annotations

from collections.abc import Callable

from .keys import NODE_EVENTS, Keys
from .subscriber import Subscriber


def listen_schedule(
    subscriber: Subscriber, keys: Keys, on_first: Callable[[], None], on_node: Callable[[], None]
) -> Callable[[], None]:
    """Listen for jobs that are due sooner than all others, and for a sign of the Node library.

    Args:
        subscriber: of the queue.
        keys: of the queue.
        on_first: called when ``promote`` should run: a job is due sooner, Node is there, or news may be missed.
        on_node: called before that at the first sign of Node, of whatever queue; its first TTL must not wait.

    Returns:
        A callable that ends it.
    """

    def hear_node(_: bytes) -> None:
        # One sign is enough: a busy Node worker gives many.
        end_node()
        on_node()
        on_first()

    end_schedule = subscriber.listen(keys.schedule_channel, lambda _: on_first(), on_first, confirm=False)
    end_node = subscriber.listen(NODE_EVENTS, hear_node, confirm=False)

    def end() -> None:
        end_schedule()
        end_node()

    return end
