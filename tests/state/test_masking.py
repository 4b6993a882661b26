"""What is learned of people for compressing them names none of them, and is still of their shape."""

import random
import string
from typing import Any, Final

import msgspec
import pytest
from zstandard import train_dictionary

from state.masking import SHARED, masked
from state.packing import DICTIONARY_BYTES, SAMPLES, Packing
from state.people import Cart, Cause, Contact, Line, Person, Sent, User, Visitor, Wait
from tests.shopping import at

_LONG_ENOUGH: Final = 8
"""So many letters of somebody's do not come by chance."""


def person(rng: random.Random) -> tuple[Person, list[str]]:
    """Make somebody all of whose texts are theirs alone, but for a shop's; return these texts as well."""
    words = ["".join(rng.choices(string.ascii_lowercase, k=12)) for _ in range(9)]
    who, mail, name, variant, cart, message, note, trigger, device = words
    line = Line(at(), 1.0, "Shoes", 9.0, f"https://shop.example/shoes?for={who}", "", variant)
    wait = Wait("reminder", cart, 0, 0, 0, Cause("1-0", at(), message), {"note": note}, [])
    made = User("default", who, at(), visitors=[device], contact=Contact(f"{mail}@example.com", {"name": name}))
    made.carts.open[cart] = Cart(at(), {"shoes": line})
    made.waits.open.append(wait)
    made.waits.sent.append(Sent("reminder", cart, trigger, 0, 0, 0, 0))
    return (made if rng.random() < 0.9 else Visitor("default", device, at(), who)), words


def told(dictionary: bytes, words: list[str]) -> list[str]:
    """Say which of somebody's words a dictionary gives away, in part at least."""
    starts = range(len(words[0]) - _LONG_ENOUGH + 1)
    return [word for word in words if any(word[n : n + _LONG_ENOUGH].encode() in dictionary for n in starts)]


def test_a_dictionary_names_nobody() -> None:
    """It is kept for good, so nothing that a person would want erased may be in it; unmasked, some of it would be."""
    rng, packer = random.Random(3), Packing()
    people, words = zip(*(person(rng) for _ in range(SAMPLES)), strict=True)
    private = [word for each in words for word in each]
    packer.learn([packer.plain(each, 0) for each in people])
    (dictionary,) = packer.dictionaries
    bare = train_dictionary(DICTIONARY_BYTES, [msgspec.msgpack.encode(each) for each in people], level=1).as_bytes()

    assert b"shop.example/shoes" in dictionary
    assert told(bare, private)
    assert told(dictionary, private) == []


@pytest.mark.parametrize(("people", "stays"), [(SHARED - 1, False), (SHARED, True)])
def test_a_text_stays_from_as_many_people_on_as_do_not_give_one_away(people: int, stays: bool) -> None:
    """However often one person says it, they are one."""
    samples: list[Any] = [["summer sale", "summer sale"] for _ in range(people)]
    assert (masked(samples) == samples) is stays


def test_what_is_masked_keeps_its_shape() -> None:
    """Characters become others of their kind, and bytes as many others; numbers, which name nobody alone, stay."""
    word, key = masked([["Zoë-1F!", b"12345678", 7, None, True, 1.5, {"x9": 2}]])[0][0], 0
    (value,) = masked([["Zoë-1F!", b"12345678", 7, None, True, 1.5, {"x9": 2}]])

    assert word == value[key]
    assert [*map(str.isupper, word)] == [*map(str.isupper, "Zoë-1F!")]
    assert [*map(str.isdigit, word)] == [*map(str.isdigit, "Zoë-1F!")]
    assert (word[2:4], word[6], word[5] in "ABCDEF") == ("ë-", "!", True)
    assert len(value[1]) == 8
    assert value[1] != b"12345678"
    assert value[2:6] == [7, None, True, 1.5]
    ((name, two),) = value[6].items()
    assert (len(name), name[1].isdigit(), two) == (2, True, 2)
