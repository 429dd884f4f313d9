"""All chance of a simulated world: one seed, and a stream of its own for everybody who draws.

Streams are independent: a user who draws once more does not move the market. So a world stays recognisable when a
part of it is switched off while its failure is being narrowed down.
"""

import random


class Chance:
    """The source of every random choice of one world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, name: str) -> random.Random:
        """A generator of its own for `name`: the same for the same seed and name, on every platform."""
        return random.Random(f"{self.seed}/{name}")  # noqa: S311 - repeatable is the point


def likely(chance: random.Random, probability: float) -> bool:
    return chance.random() < probability


def between(chance: random.Random, low: float, high: float) -> float:
    """Uniform; the four basic operations only, so that every platform agrees."""
    return low + (high - low) * chance.random()
