"""What is learned of people for compressing them names none of them, and is still of their shape."""

import random
import string
import tracemalloc
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pytest
from zstandard import train_dictionary

from state.masking import SHARED, masked
from state.packing import DICTIONARY_BYTES, SAMPLES, Packing, learned
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


def learned_of(packer: Packing, people: Iterable[Person]) -> bytes:
    """Learn a dictionary from people."""
    dictionary = learned(packer.samples({str(n): packer.plain(each, 0) for n, each in enumerate(people)}))
    assert dictionary is not None
    return dictionary


def test_a_dictionary_names_nobody() -> None:
    """It is kept for good, so nothing that a person would want erased may be in it; unmasked, some of it would be."""
    rng, packer = random.Random(3), Packing()
    people, words = zip(*(person(rng) for _ in range(SAMPLES)), strict=True)
    private = [word for each in words for word in each]
    dictionary = learned_of(packer, people)
    bare = train_dictionary(DICTIONARY_BYTES, [msgspec.msgpack.encode(each) for each in people], level=1).as_bytes()

    assert b"shop.example/shoes" in dictionary
    assert told(bare, private)
    assert told(dictionary, private) == []


def test_who_learns_a_dictionary_takes_a_breath_after_each_person() -> None:
    """Learned in one go beside a busy worker, it took half of the interpreter for a second: profiles came 500 ms late."""
    rng, breaths = random.Random(5), list[None]()
    samples = Packing().samples({str(n): Packing().plain(person(rng)[0], 0) for n in range(SAMPLES)})
    assert learned(samples, lambda: breaths.append(None)) == learned(samples) is not None
    assert len(breaths) >= 2 * SAMPLES - SHARED


def test_the_next_dictionary_is_learned_when_people_are_eight_times_as_many() -> None:
    """By number of dictionaries, a shard that was filled at once learned three in a row from the same people."""
    rng, packer = random.Random(6), Packing()
    packed = {str(n): packer.plain(person(rng)[0], 0) for n in range(3 * SAMPLES)}
    dictionary = learned(packer.samples(packed))
    assert dictionary is not None
    packer.add(dictionary)
    assert packer.samples(packed) == []
    grown = packed | {f"again-{n}-{key}": each for n in range(7) for key, each in packed.items()}
    assert packer.samples(grown)
    restarted = Packing()
    restarted.add(dictionary)
    assert restarted.samples(packed) == []
    assert restarted.samples(grown)


def test_names_in_any_script_and_numbers_stay_out_of_the_dictionary() -> None:
    """Characters beyond ASCII and numbers were left as they were: dozens of whole names and telephone numbers were in it."""
    rng, packer = random.Random(4), Packing()
    names = ["".join(rng.choices("абвгдежзиклмнопрстуф", k=12)) for _ in range(SAMPLES)]
    phones = [rng.randrange(4_915_100_000_000, 4_915_999_999_999) for _ in names]
    places = [rng.uniform(47, 55) for _ in names]
    people = [
        User("default", f"{n}", at(), contact=Contact("", {"name": name, "phone": phone, "latitude": place}))
        for n, (name, phone, place) in enumerate(zip(names, phones, places, strict=True))
    ]
    dictionary = learned_of(packer, people)

    assert b"latitude" in dictionary
    private = [*(name.encode() for name in names), *map(msgspec.msgpack.encode, [*phones, *places])]
    assert [each for each in private if each in dictionary] == []


@pytest.mark.parametrize(("people", "stays"), [(SHARED - 1, False), (SHARED, True)])
@pytest.mark.parametrize("value", ["summer sale", 1_767_225_600_000_000, -0.125])
def test_what_ten_people_have_stays(people: int, stays: bool, value: object) -> None:
    """However often one person has it, they are one."""
    samples: list[Any] = [[value, value] for _ in range(people)]
    assert (masked((f"user-{n}", sample) for n, sample in enumerate(samples)) == samples) is stays


def test_the_devices_of_one_person_do_not_make_them_many() -> None:
    """Each device's record names the user; ten devices of one customer left their address bare."""
    packer, who = Packing(), "anna@example.com"
    devices = [Visitor("default", f"device-{n}", at(), who) for n in range(20)]
    others = [User("default", f"user-{n}", at()) for n in range(SAMPLES)]
    everybody: list[Person] = [*devices, *others]
    dictionary = learned_of(packer, everybody)

    assert who.encode() not in dictionary


def test_what_is_masked_keeps_its_shape() -> None:
    """Characters become others of their kind, bytes as many others, and a number takes as much space as before."""
    before = ["Zoë-1F!", b"12345678", 4_915_112_345_678, 7, -3, None, True, 1.5, {"x9": 0}]
    ((word, data, phone, digit, negative, nothing, yes, real, mapping),) = masked([("zoe", before)])

    assert [*map(str.isupper, word)] == [*map(str.isupper, "Zoë-1F!")]
    assert [*map(str.isdigit, word)] == [*map(str.isdigit, "Zoë-1F!")]
    assert (len(word[2].encode()), word[3], word[6], word[5] in "ABCDEF") == (2, "-", "!", True)
    assert len(data) == 8
    assert data != b"12345678"
    assert phone != 4_915_112_345_678
    assert phone.bit_length() > 40
    assert (0 < digit < 256, -256 < negative < 0, nothing, yes, type(real)) == (True, True, None, True, float)
    ((name, zero),) = mapping.items()
    assert (len(name), name[1].isdigit(), zero) == (2, True, 0)


def test_masking_a_very_long_text_takes_no_longer_than_reading_it() -> None:
    """Every word's end was a beginning to remember: one property of 30 KB took 600 MB."""
    tracemalloc.start()
    try:
        masked([("ann", ["a " * 15_000])])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
