"""Who comes next, by Zipf's law: the n-th person in proportion to n to the power of minus the exponent."""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

EXPONENT: Final = 0.8
"""Of 200,000 people the first hundred do a tenth of all, the first 20,000 three fifths."""


def drawn(
    rnd: random.Random, people: Sequence[int], exponent: float = EXPONENT, at_once: int = 10_000
) -> Iterator[int]:
    """Draw people for ever, `at_once` at a time; they are numbered from 0 on."""
    weights = list(accumulate((person + 1) ** -exponent for person in people))
    while True:
        yield from rnd.choices(people, cum_weights=weights, k=at_once)
