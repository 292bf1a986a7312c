"""What the producers order: the kinds of jobs, how often each comes, and how each should end."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from .jobs import MAX_ATTEMPTS


class Kind(StrEnum):
    """What a job does, and what its producer does with it."""

    SHORT = "short"
    LONG = "long"
    FLAKY = "flaky"
    FAILING = "failing"
    POISON = "poison"
    DELAYED = "delayed"
    CANCELLED = "cancelled"
    WAITED = "waited"

    @property
    def must_fail(self) -> bool:
        """Whether such a job ends as failed."""
        return self in (Kind.FAILING, Kind.POISON)


#: How many of a thousand jobs are of a kind. Each poisonous one ends two workers.
SHARES = {
    Kind.SHORT: 620,
    Kind.LONG: 48,
    Kind.FLAKY: 80,
    Kind.FAILING: 30,
    Kind.POISON: 2,
    Kind.DELAYED: 80,
    Kind.CANCELLED: 40,
    Kind.WAITED: 100,
}


@dataclass(frozen=True, slots=True)
class Order:
    """One job. Durations in seconds."""

    kind: Kind
    seconds: float
    failures: int = 0
    max_attempts: int = MAX_ATTEMPTS
    delay: float | None = None


def draw(chance: random.Random) -> Order:
    """The next order."""
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    short = chance.uniform(0, 0.03)
    match kind:
        case Kind.LONG:
            return Order(kind, chance.uniform(2, 8))
        case Kind.FLAKY:
            return Order(kind, short, failures=chance.randint(1, 3))
        case Kind.FAILING:
            return Order(kind, short, failures=MAX_ATTEMPTS, max_attempts=2)
        case Kind.POISON:
            return Order(kind, short, max_attempts=2)
        case Kind.DELAYED:
            return Order(kind, short, delay=chance.uniform(0.5, 6))
        case Kind.CANCELLED:
            return Order(kind, short, delay=chance.choice([None, 1.0]))
        case Kind.WAITED:
            return Order(kind, chance.choice([short, short, 1.0]), failures=chance.choice([0, 0, 1]))
        case _:
            return Order(kind, short)
