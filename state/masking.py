"""Masking: people as samples of their shape, in which only what many of them share is left as it was.

A dictionary for compression is kept for good, so nothing that a person would want erased may get into it. How a text begins
stays as far as at least ten of the sampled people have it in common: a campaign, the address of a shop, the name of a trait.
The rest is replaced by random characters of the same kinds, drawn without looking at it any further, so that the shape and
the mix of characters stay.
"""

import random
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

SHARED: Final = 10
"""So many people have in common what may stay."""

_KINDS: Final = (string.digits, "abcdef", string.ascii_lowercase, "ABCDEF", string.ascii_uppercase)
_ALIKE: Final = {char: kind for kind in reversed(_KINDS) for char in kind}
_WORD: Final = re.compile(r"\w+|\W+")


def masked(people: Iterable[Any]) -> list[Any]:
    """Mask people, given as the lists, mappings, texts, bytes and numbers that they are stored as."""
    samples = list(people)
    counts = Counter[str]()
    for person in samples:
        counts.update({beginning for text in _texts(person) for beginning in _beginnings(text)})
    shared = {beginning for beginning, count in counts.items() if count >= SHARED}
    rng = random.Random(len(samples))  # noqa: S311 - it hides nothing: what it draws does not depend on whom it masks
    return [_masked(person, shared, rng) for person in samples]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _beginnings(text: str) -> list[str]:
    """List how a text begins, up to the end of each of its words, the shortest first."""
    return [text[: word.end()] for word in _WORD.finditer(text)]


def _masked(value: Any, shared: set[str], rng: random.Random) -> Any:
    if isinstance(value, str):
        return _text(value, shared, rng)
    if isinstance(value, bytes):
        return rng.randbytes(len(value))
    if isinstance(value, dict):
        return {_text(name, shared, rng): _masked(each, shared, rng) for name, each in value.items()}
    return [_masked(each, shared, rng) for each in value] if isinstance(value, list) else value


def _text(text: str, shared: set[str], rng: random.Random) -> str:
    if text in shared:
        return text
    kept = max((len(beginning) for beginning in _beginnings(text) if beginning in shared), default=0)
    rest = text[kept:]
    kinds = (_ALIKE.get(char, char) for char in rest)
    drawn = rng.randbytes(len(rest))
    return text[:kept] + "".join(kind[byte % len(kind)] for kind, byte in zip(kinds, drawn, strict=True))
