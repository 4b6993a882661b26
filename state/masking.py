"""Masking: people as samples of their shape, in which only what many of them share is left as it was.

A dictionary for compression is kept for good, so nothing that a person would want erased may get into it. How a text or a
number begins stays as far as at least ten of the sampled people have it in common: a campaign, the address of a shop, the name
of a trait, the year. The rest is replaced by what is drawn at random, without looking at it any further: characters of the same
kinds, bytes. What stands in one person twice does so masked as well. So the shape and the mix of characters stay.
"""

import random
import re
import string
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

SHARED: Final = 10
"""So many people have in common what may stay."""

_MOST_WORDS, _MOST_CHARACTERS = 8, 64
"""Of a longer text no more is looked at, and may stay: looking at all of it would cost its square."""

_KINDS: Final = (string.digits, "abcdef", string.ascii_lowercase, "ABCDEF", string.ascii_uppercase)
_ALIKE: Final = {char: kind for kind in reversed(_KINDS) for char in kind}
_WORD: Final = re.compile(r"\w+|\W+")

_Beginning = str | tuple[int, bytes]


def masked(people: Iterable[tuple[str, Any]], breathe: Callable[[], None] = lambda: None) -> list[Any]:
    """Mask people, each with a name of whose they are: what several things of one person share is not shared.

    They are given as the lists, mappings, texts, bytes and numbers that they are stored as. `breathe` is called after every
    millisecond or so of work.
    """
    samples, by_owner, counts = list(people), defaultdict[str, list[Any]](list), Counter[_Beginning]()
    for owner, person in samples:
        by_owner[owner].append(person)
    for theirs in by_owner.values():
        counts.update({beginning for _, leaf in _leaves(theirs) for beginning in _beginnings(leaf)})
        breathe()
    shared = {beginning for beginning, count in counts.items() if count >= SHARED}
    rng = random.Random(len(samples))  # noqa: S311 - it hides nothing: what it draws does not depend on whom it masks
    found = []
    for _, person in samples:
        found.append(_Mask(shared, rng).of(person))
        breathe()
    return found


def _leaves(value: Any) -> set[tuple[type, Any]]:
    """Gather the texts and numbers in a value, each once; their kinds tell 1 from 1.0."""
    found = set[tuple[type, Any]]()
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, list):
            rest += each
        elif isinstance(each, dict):
            rest += [*each, *each.values()]
        elif isinstance(each, str | int | float) and not isinstance(each, bool):
            found.add((type(each), each))
    return found


def _beginnings(leaf: Any) -> list[_Beginning]:
    """List how a number or text begins: up to the end of each of its bytes, or first words; the shortest first."""
    if isinstance(leaf, str):
        words = zip(_WORD.finditer(leaf[:_MOST_CHARACTERS]), range(_MOST_WORDS), strict=False)
        return [leaf[: word.end()] for word, _ in words]
    written = _written(leaf)
    size = len(written)
    return [(size, written[:end]) for end in range(1, size + 1)]


def _written(number: Any) -> bytes:
    """Write a number down so that equal beginnings mean that it is alike: the highest bytes first."""
    if isinstance(number, float):
        return struct.pack(">d", number)
    whole: int = abs(number)
    return whole.to_bytes((whole.bit_length() + 7) // 8, "big")


class _Mask:
    """Masks one person."""

    def __init__(self, shared: set[_Beginning], rng: random.Random) -> None:
        self._shared, self._rng = shared, rng
        self._drawn: dict[Any, Any] = {}

    def of(self, value: Any) -> Any:
        """Mask a value and all that is in it."""
        if isinstance(value, dict):
            return {self.of(name): self.of(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.of(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        known = self._drawn.get((type(value), value))
        if known is None:
            known = self._drawn[type(value), value] = self._draw(value)
        return known

    def _draw(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        return self._rng.randbytes(len(value)) if isinstance(value, bytes) else self._number(value)

    def _text(self, text: str) -> str:
        kept = max((len(beginning) for beginning in _beginnings(text) if beginning in self._shared), default=0)
        rest = text[kept:]
        drawn = self._rng.randbytes(len(rest))
        return text[:kept] + "".join(_like(char, byte) for char, byte in zip(rest, drawn, strict=True))

    def _number(self, number: Any) -> Any:
        written = _written(number)
        size = len(written)
        kept = max((len(beginning[1]) for beginning in _beginnings(number) if beginning in self._shared), default=0)
        drawn = written[:kept] + self._rng.randbytes(size - kept)
        if isinstance(number, float):
            return struct.unpack(">d", drawn)[0]
        highest = bytes([max(1, drawn[0])]) if size else b""  # it takes as many bytes as before
        return (-1 if number < 0 else 1) * int.from_bytes(highest + drawn[1:], "big")


def _like(char: str, byte: int) -> str:
    """Draw a character of the same kind; beyond ASCII, one of the 32 around it."""
    if char.isascii():
        kind = _ALIKE.get(char, char)
        return kind[byte % len(kind)]
    return chr(ord(char) & ~31 | byte & 31)
